//! Three real sites on loopback: a machine that is there twice, and a way between two that goes dead.

mod several {
    mod dead_edge;
    mod sites;
    mod twins;
}
