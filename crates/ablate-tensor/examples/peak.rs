//! Measures the matrix-product speed of this machine at a decoder's shapes, one product a thread.
use ablate_tensor::{Into, Matrix, linear};
use std::time::Instant;

fn run(m: usize, k: usize, n: usize, transposed: bool, threads: usize) -> f64 {
    let w = Matrix::row_major(
        vec![0.01f32; k * n],
        if transposed { n } else { k },
        if transposed { k } else { n },
    );
    let w = if transposed { w.transposed() } else { w };
    let reps = (4e10 / (2.0 * (m * k * n) as f64)).max(2.0) as usize;
    let t = Instant::now();
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                let x = vec![0.5f32; m * k];
                let mut out = vec![0f32; m * n];
                for _ in 0..reps {
                    linear(&x, &w, &mut out, Into::Replace);
                }
            });
        }
    });
    2.0 * (m * k * n * reps * threads) as f64 / t.elapsed().as_secs_f64() / 1e9
}

#[allow(clippy::print_stdout)]
fn main() {
    for (m, k, n) in [
        (100, 768, 768),
        (400, 768, 768),
        (400, 768, 3072),
        (400, 3072, 768),
        (800, 768, 2304),
        (400, 576, 1536),
    ] {
        for tr in [false, true] {
            println!(
                "[{m},{k}]x[{k},{n}] transposed={tr}: 1 thread {:.0}  2 threads {:.0} GFLOP/s",
                run(m, k, n, tr, 1),
                run(m, k, n, tr, 2)
            );
        }
    }
}
