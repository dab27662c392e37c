//! Just enough SVG: elements, attributes, text, all escaped.

use std::fmt::{Display, Write};

/// A picture in the making.
#[derive(Debug, Default)]
pub(super) struct Svg {
    out: String,
    open: Vec<&'static str>,
}

impl Svg {
    /// An empty picture of this size in pixels, black on white.
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut svg = Self::default();
        let _ = writeln!(
            svg.out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">"
        );
        svg.open.push("svg");
        svg.rect((0.0, 0.0), (width, height), "#ffffff", "paper");
        svg
    }

    /// Begins a group.
    pub(super) fn begin(&mut self, class: &str) {
        let _ = writeln!(self.out, "<g class=\"{}\">", escaped(class));
        self.open.push("g");
    }

    /// Ends the group that was begun last.
    pub(super) fn end(&mut self) {
        if let Some(tag) = self.open.pop() {
            let _ = writeln!(self.out, "</{tag}>");
        }
    }

    pub(super) fn rect(&mut self, at: (f64, f64), size: (f64, f64), fill: &str, class: &str) {
        let ((x, y), (w, h)) = (at, size);
        let _ = writeln!(
            self.out,
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" \
             fill=\"{}\"/>",
            escaped(class),
            escaped(fill)
        );
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, class: &str) {
        let _ = writeln!(
            self.out,
            "<line class=\"{}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" \
             stroke=\"{}\"/>",
            escaped(class),
            from.0,
            from.1,
            to.0,
            to.1,
            escaped(stroke)
        );
    }

    /// A line through points; `None` among them is a gap. `dash` as SVG has it, empty for none.
    pub(super) fn path(
        &mut self,
        points: impl Iterator<Item = Option<(f64, f64)>>,
        (stroke, dash): (&str, &str),
        class: &str,
    ) {
        let (mut d, mut pen_down) = (String::new(), false);
        for point in points {
            if let Some((x, y)) = point {
                let _ = write!(d, "{}{x:.1} {y:.1}", if pen_down { "L" } else { "M" });
            }
            pen_down = point.is_some();
        }
        let _ = writeln!(
            self.out,
            "<path class=\"{}\" d=\"{d}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.3\" \
             stroke-dasharray=\"{}\"/>",
            escaped(class),
            escaped(stroke),
            if dash.is_empty() { "none" } else { dash }
        );
    }

    /// Text; `anchor` is start, middle or end.
    pub(super) fn text(&mut self, at: (f64, f64), anchor: &str, class: &str, text: impl Display) {
        let weight = if class == "title" { "bold" } else { "normal" };
        let _ = writeln!(
            self.out,
            "<text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\" \
             font-weight=\"{weight}\">{}</text>",
            escaped(class),
            at.0,
            at.1,
            escaped(anchor),
            escaped(&text.to_string())
        );
    }

    /// The whole picture.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.out
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // No control character is allowed in XML but these.
            c if c.is_control() && !matches!(c, '\t' | '\n') => safe.push('?'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 1.0), "start", "title", "<script>&\"\u{7}");
        let picture = svg.finish();
        assert!(picture.contains(">&lt;script&gt;&amp;&quot;?</text>"), "{picture}");
        assert!(picture.ends_with("</svg>\n"), "{picture}");
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let mut svg = Svg::new(10.0, 10.0);
        let points = [Some((0.0, 1.0)), Some((1.0, 1.0)), None, Some((3.0, 2.0))];
        svg.path(points.into_iter(), ("#000000", ""), "a");
        assert!(svg.finish().contains("d=\"M0.0 1.0L1.0 1.0M3.0 2.0\""));
    }
}
