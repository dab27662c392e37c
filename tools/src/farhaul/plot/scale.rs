//! Axes: round numbers at even distances, and units that suit the largest value.

/// A linear axis from zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// The end of the axis: a tick.
    pub(super) max: f64,
    step: f64,
}

impl Scale {
    /// An axis for values up to `largest`, with about `count` ticks.
    pub(super) fn new(largest: f64, count: f64) -> Self {
        let largest = if largest.is_finite() && largest > 0.0 { largest } else { 1.0 };
        let rough = largest / count;
        let magnitude = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps.into_iter().find(|&step| step >= rough * 0.999).unwrap_or(rough);
        Self { max: (largest / step * 0.999).ceil() * step, step }
    }

    /// The ticks and what is written at them.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        let Self { max, step } = *self;
        let digits =
            if step >= 1.0 { 0 } else { 1 + usize::from(step < 0.1) + usize::from(step < 0.01) };
        (0..=100u32)
            .map(move |tick| f64::from(tick) * step)
            .take_while(move |&value| value <= max * 1.001)
            .map(move |value| (value, format!("{value:.digits$}")))
    }
}

/// The unit for rates up to `largest` bits per second, and how many bits per second it is.
pub(super) fn rate_unit(largest: f64) -> (&'static str, f64) {
    match largest {
        rate if rate >= 2e9 => ("Gbit/s", 1e9),
        rate if rate >= 2e6 => ("Mbit/s", 1e6),
        _ => ("kbit/s", 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_beyond_the_largest_value() {
        for (largest, expected) in [
            (93.0, "0 20 40 60 80 100"),
            (0.7, "0.0 0.2 0.4 0.6 0.8"),
            (5.0, "0 1 2 3 4 5"),
            (0.0, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (f64::NAN, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (1_234.0, "0 500 1000 1500"),
        ] {
            let scale = Scale::new(largest, 5.0);
            let ticks: Vec<String> = scale.ticks().map(|(_, text)| text).collect();
            assert_eq!(ticks.join(" "), expected, "{largest}");
        }
    }
}
