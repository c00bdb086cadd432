//! Linear least squares by a rank-revealing decomposition.

use faer::MatRef;
use faer::linalg::solvers::SolveLstsqCore;
use faer::{Conj, Mat};

/// The solution `[cols, k]` (row-major) of `min |a·x - b|²` for each of `k` right-hand sides: `a` is `[rows, cols]`, `b`
/// is `[rows, k]`, both row-major. By QR with column pivoting.
///
/// # Errors
/// The rank of `a`, where it is below `cols` so that there is no one solution: diagonal entries of R up to
/// `max(rows, cols)·ε` of the largest count as zero.
pub fn least_squares(a: &[f64], rows: usize, cols: usize, b: &[f64], k: usize) -> Result<Vec<f64>, usize> {
    if cols == 0 {
        return Ok(Vec::new());
    }
    let qr = MatRef::from_row_major_slice(a, rows, cols).col_piv_qr();
    let r = qr.thin_R();
    let n = rows.min(cols);
    let least = rows.max(cols) as f64 * f64::EPSILON * if n == 0 { 0.0 } else { r[(0, 0)].abs() };
    let rank = (0..n).filter(|&i| r[(i, i)].abs() > least).count();
    if rank < cols {
        return Err(rank);
    }
    let mut x = Mat::from_fn(rows, k, |i, j| b[i * k + j]);
    qr.solve_lstsq_in_place_with_conj(Conj::No, x.as_mut());
    Ok((0..cols).flat_map(|i| (0..k).map(move |j| (i, j))).map(|at| x[at]).collect())
}

#[cfg(test)]
mod tests {
    use super::least_squares;

    #[test]
    fn a_line_through_points() {
        // y = 1 + 2t, with 0.1 taken off one point and given to the next: the line through them by hand
        let t = [0.0, 1.0, 2.0, 3.0];
        let a: Vec<f64> = t.iter().flat_map(|t| [1.0, *t]).collect();
        let b: Vec<f64> =
            t.iter().enumerate().flat_map(|(i, t)| [1.0 + 2.0 * t, [1.0, 2.9, 5.1, 7.0][i]]).collect();
        let x = least_squares(&a, 4, 2, &b, 2).unwrap_or_default();
        for (got, wanted) in x.iter().zip([1.0, 0.97, 2.0, 2.02]) {
            assert!((got - wanted).abs() < 1e-12, "{x:?}");
        }
    }

    #[test]
    fn the_rank_is_said() {
        let a = [1.0, 2.0, 2.0, 4.0, 3.0, 6.0];
        assert_eq!(least_squares(&a, 3, 2, &[1.0, 2.0, 3.0], 1), Err(1));
        assert_eq!(least_squares(&a, 2, 3, &[1.0, 2.0], 1), Err(2));
        assert_eq!(least_squares(&[0.0, 0.0], 2, 1, &[1.0, 2.0], 1), Err(0));
        assert_eq!(least_squares(&[], 0, 1, &[], 1), Err(0));
    }
}
