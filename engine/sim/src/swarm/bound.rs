//! What physics allows: no schedule has the last site done earlier.

/// The least time in seconds in which `file` bytes can be at all sites. Rates are bytes per second:
/// of all origins together, and of each site up and down. `chunks` are of equal length here.
pub fn least(file: f64, origins_up: f64, ups: &[f64], downs: &[f64], chunks: u32) -> f64 {
    let count = f64::from(u32::try_from(ups.len()).unwrap_or(u32::MAX));
    let slowest = downs.iter().copied().fold(f64::INFINITY, f64::min);
    let all_up = origins_up + ups.iter().sum::<f64>();
    let fluid = (file / origins_up).max(file / slowest).max(count * file / all_up);
    fluid * (1.0 + count.log2().floor() / f64::from(chunks))
}
