//! The house rules that a compiler cannot check, over every file under version control.
//!
//! One test per rule. A finding names file and line and says what to do. Each rule is a pure
//! function over the tree, with tests beside it that plant a violation. Files and functions
//! over the limits stand in `tidy_exceptions.toml`, where numbers may only fall.

mod tidy {
    pub(crate) mod fences;
    pub(crate) mod functions;
    pub(crate) mod heads;
    pub(crate) mod layout;
    pub(crate) mod leftovers;
    pub(crate) mod links;
    pub(crate) mod mask;
    pub(crate) mod modules;
    pub(crate) mod mutants;
    pub(crate) mod purity;
    pub(crate) mod ratchet;
    pub(crate) mod size;
    pub(crate) mod spec;
    pub(crate) mod tree;
    pub(crate) mod unsafety;
}

use tidy::ratchet::Exceptions;
use tidy::tree::{Finding, Tree};
use tidy::{
    fences, heads, layout, leftovers, links, modules, mutants, purity, ratchet, size, spec,
    unsafety,
};

/// Fails with all findings of a rule, one a line.
fn assert_none(findings: &[Finding]) {
    let list: String = findings.iter().map(|finding| format!("\n{finding}")).collect();
    assert!(findings.is_empty(), "{} finding(s):{list}\n", findings.len());
}

#[test]
fn every_source_file_opens_with_a_head_comment() {
    assert_none(&heads::check(&Tree::tracked()));
}

#[test]
fn files_and_functions_stay_small() {
    let tree = Tree::tracked();
    let exceptions = Exceptions::load(&tree);
    assert_none(&ratchet::check(&size::measure(&tree), &exceptions));
}

#[test]
fn names_say_what_is_inside() {
    assert_none(&heads::check_names(&Tree::tracked()));
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    assert_none(&unsafety::check(&Tree::tracked()));
}

#[test]
fn crates_import_downwards_only() {
    assert_none(&fences::check(&Tree::tracked()));
}

#[test]
fn brains_touch_no_world() {
    assert_none(&purity::check(&Tree::tracked()));
}

#[test]
fn nothing_is_left_over() {
    assert_none(&leftovers::check_marks(&Tree::tracked()));
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    assert_none(&leftovers::check_places(&Tree::tracked()));
}

#[test]
fn cited_requirements_exist() {
    assert_none(&spec::check_citations(&Tree::tracked()));
}

#[test]
fn testable_requirements_are_cited() {
    let tree = Tree::tracked();
    let exceptions = Exceptions::load(&tree);
    let uncited = spec::uncited(&tree);
    for finding in &uncited {
        println!("{finding}");
    }
    assert_none(&ratchet::check_uncited(&uncited, &exceptions));
}

#[test]
fn every_source_file_is_reached_by_a_mod_declaration() {
    assert_none(&modules::check(&Tree::tracked()));
}

#[test]
fn rooms_stand_where_the_plan_has_them() {
    assert_none(&layout::check(&Tree::tracked()));
}

#[test]
fn links_between_documents_resolve() {
    assert_none(&links::check(&Tree::tracked()));
}

#[test]
fn faults_for_the_brain_fit_its_sources() {
    assert_none(&mutants::check(&Tree::tracked()));
}
