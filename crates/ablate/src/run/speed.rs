//! How fast this machine multiplies, for estimates of time.

use std::time::{Duration, Instant};

use ablate_tensor::{Into, View, product};

/// FLOPs a second of single-threaded products of a decoder's size, one on each of rayon's threads, in `f32`: measured, which
/// takes a tenth of a second.
pub fn product_flops() -> f64 {
    const SIZE: [usize; 3] = [128, 512, 512];
    const FOR: Duration = Duration::from_millis(100);
    let [m, k, n] = SIZE;
    let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
    let each = rayon::broadcast(|_| {
        let mut out = vec![0f32; m * n];
        let (begun, mut products) = (Instant::now(), 0u32);
        while begun.elapsed() < FOR {
            product(View::rows(&a, m, k, k), View::rows(&b, k, n, n), 1.0, &mut out, n, Into::Replace);
            products += 1;
        }
        f64::from(products) * 2.0 * (m * k * n) as f64 / begun.elapsed().as_secs_f64()
    });
    each.iter().sum()
}
