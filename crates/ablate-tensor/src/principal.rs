//! Principal components of a set of rows.

use faer::MatRef;

/// What [`principal_components`] finds: directions `[k][dim]`, the mean `[dim]`, and the variance along each direction.
pub type Principal = (Vec<Vec<f64>>, Vec<f64>, Vec<f64>);

/// The first `k` principal components of `rows` (`[n, dim]`, row-major): directions of length 1 whose largest entry is
/// positive, by falling variance (over `n − 1`). `None` where there are fewer rows or dimensions than `k`, or where the
/// decomposition does not converge (numbers that are not finite).
pub fn principal_components(rows: &[f64], dim: usize, k: usize) -> Option<Principal> {
    let n = rows.len().checked_div(dim)?;
    if n < 2 || k > n.min(dim) {
        return None;
    }
    let mean: Vec<f64> = (0..dim).map(|j| rows[j..].iter().step_by(dim).sum::<f64>() / n as f64).collect();
    let centred: Vec<f64> = rows.iter().enumerate().map(|(i, x)| x - mean[i % dim]).collect();
    let svd = MatRef::from_row_major_slice(&centred, n, dim).thin_svd().ok()?;
    let (s, v) = (svd.S().column_vector(), svd.V());
    let directions = (0..k)
        .map(|c| {
            let d: Vec<f64> = (0..dim).map(|j| v[(j, c)]).collect();
            let largest = d.iter().fold(0.0_f64, |m, x| if x.abs() > m.abs() { *x } else { m });
            if largest < 0.0 { d.iter().map(|x| -x).collect() } else { d }
        })
        .collect();
    let variance = (0..k).map(|c| s[c] * s[c] / (n - 1) as f64).collect();
    Some((directions, mean, variance))
}

#[cfg(test)]
mod tests {
    use super::principal_components;

    #[test]
    fn a_stretched_cloud_has_its_axes() {
        // points (3t, 4t) plus a little across
        let rows: Vec<f64> = (-5..=5)
            .flat_map(|t| {
                let (t, e) = (f64::from(t), if t % 2 == 0 { 0.01 } else { -0.01 });
                [1.0 + 3.0 * t - 4.0 * e, 2.0 + 4.0 * t + 3.0 * e]
            })
            .collect();
        let Some((directions, mean, variance)) = principal_components(&rows, 2, 2) else {
            unreachable!("it converges")
        };
        assert!((directions[0][0] - 0.6).abs() < 1e-3 && (directions[0][1] - 0.8).abs() < 1e-3);
        assert!((mean[0] - 1.0).abs() < 1e-2 && (mean[1] - 2.0).abs() < 1e-2);
        assert!((variance[0] - 275.0).abs() < 0.01 && variance[1] < 0.01);
        assert!(principal_components(&rows, 2, 3).is_none());
    }
}
