//! Small statistics: means, standard errors, ranks, correlations and bootstrap intervals.

use crate::error::{Error, Result};
use crate::rng::Random;

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample variance (divided by n − 1); `None` of fewer than two.
pub fn variance(values: &[f64]) -> Option<f64> {
    let m = mean(values)?;
    let n = values.len();
    (n > 1).then(|| values.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (n - 1) as f64)
}

/// The standard error of the mean, sd / √n with n − 1 degrees of freedom; `0` of fewer than two.
pub fn std_err(values: &[f64]) -> f64 {
    variance(values).map_or(0.0, |v| (v / values.len() as f64).sqrt())
}

/// Mean and standard error in one call; `None` of nothing.
pub fn mean_and_std_err(values: &[f64]) -> Option<(f64, f64)> {
    mean(values).map(|m| (m, std_err(values)))
}

/// The `q` quantile (0 to 1) by linear interpolation between order statistics; `None` of nothing.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_sorted(&sorted, q)
}

fn quantile_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, share) = (at.floor() as usize, at.fract());
    let (a, b) = (sorted[low], sorted[(low + 1).min(last)]);
    Some(a + (b - a) * share)
}

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Percentile bootstrap interval of any statistic of `n` rows. `statistic` gets the drawn row indices;
/// resample `r` draws its `i`-th row with key (row `r`, slot `i`). A statistic that is not finite for some
/// resample (such as a ratio with a zero denominator) is left out; `None` if nothing remains.
pub fn bootstrap(
    n: usize,
    resamples: usize,
    confidence: f64,
    random: Random,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Option<(f64, f64)> {
    if n == 0 {
        return None;
    }
    let mut rows = vec![0; n];
    let mut draws = Vec::with_capacity(resamples);
    for r in 0..resamples {
        for (i, row) in rows.iter_mut().enumerate() {
            *row = random.below(r as u64, i as u64, n);
        }
        let value = statistic(&rows);
        if value.is_finite() {
            draws.push(value);
        }
    }
    draws.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    Some((quantile_sorted(&draws, tail)?, quantile_sorted(&draws, 1.0 - tail)?))
}

/// Bootstrap interval of the mean.
pub fn bootstrap_mean(
    values: &[f64],
    resamples: usize,
    confidence: f64,
    random: Random,
) -> Option<(f64, f64)> {
    bootstrap(values.len(), resamples, confidence, random, |rows| {
        rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64
    })
}

/// Ranks from 1 (smallest) to n; ties share their average rank.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let end = start + order[start..].iter().take_while(|&&i| values[i] == value).count().max(1);
        let shared = (start + 1 + end) as f64 / 2.0;
        for &i in &order[start..end] {
            ranks[i] = shared;
        }
        start = end;
    }
    ranks
}

/// Pearson correlation. Undefined for fewer than two values or when one list is constant.
pub fn pearson(a: &[f64], b: &[f64]) -> Result<f64> {
    same_length("correlation", a, b)?;
    let undefined = |why: &str| Error::Undefined { what: "correlation", why: why.into() };
    let (Some(ma), Some(mb)) = (mean(a), mean(b)) else { return Err(undefined("there are no values")) };
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma) * (x - ma);
        bb += (y - mb) * (y - mb);
    }
    if aa == 0.0 || bb == 0.0 {
        return Err(undefined("all values are equal"));
    }
    Ok((ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation (ties share their average rank).
pub fn spearman(a: &[f64], b: &[f64]) -> Result<f64> {
    same_length("rank correlation", a, b)?;
    pearson(&ranks(a), &ranks(b))
}

pub(crate) fn same_length<A, B>(what: &str, a: &[A], b: &[B]) -> Result<()> {
    if a.len() == b.len() {
        return Ok(());
    }
    Err(Error::LengthMismatch { what: what.into(), left: a.len(), right: b.len() })
}

/// Kendall's tau-b, in O(n log n). Undefined when one list is constant.
pub fn kendall(a: &[f64], b: &[f64]) -> Result<f64> {
    same_length("rank correlation", a, b)?;
    // ranks make equal values equal and order total, whatever the signs of zeros
    let (ra, rb) = (ranks(a), ranks(b));
    let mut order: Vec<usize> = (0..a.len()).collect();
    order.sort_by(|&i, &j| ra[i].total_cmp(&ra[j]).then(rb[i].total_cmp(&rb[j])));
    let pairs = |n: f64| n * (n - 1.0) / 2.0;
    let tied = |same: &dyn Fn(usize, usize) -> bool, order: &[usize]| -> f64 {
        order.chunk_by(|&i, &j| same(i, j)).map(|group| pairs(group.len() as f64)).sum()
    };
    let ties_a = tied(&|i, j| ra[i] == ra[j], &order);
    let ties_both = tied(&|i, j| ra[i] == ra[j] && rb[i] == rb[j], &order);
    let mut by_b: Vec<f64> = order.iter().map(|&i| rb[i]).collect();
    let swaps = sort_counting(&mut by_b);
    let ties_b: f64 = by_b.chunk_by(|x, y| x == y).map(|group| pairs(group.len() as f64)).sum();
    let all = pairs(a.len() as f64);
    let scale = ((all - ties_a) * (all - ties_b)).sqrt();
    if scale == 0.0 || a.is_empty() {
        return Err(Error::Undefined { what: "correlation", why: "all values are equal".into() });
    }
    Ok((all - ties_a - ties_b + ties_both - 2.0 * swaps as f64) / scale)
}

/// Sorts by merging; counts the pairs that were in the wrong order.
fn sort_counting(values: &mut [f64]) -> u64 {
    let middle = values.len() / 2;
    if middle == 0 {
        return 0;
    }
    let mut swaps = sort_counting(&mut values[..middle]) + sort_counting(&mut values[middle..]);
    let (left, right) = (values[..middle].to_vec(), values[middle..].to_vec());
    let (mut i, mut j) = (0, 0);
    for place in values.iter_mut() {
        if j == right.len() || i < left.len() && left[i] <= right[j] {
            *place = left[i];
            i += 1;
        } else {
            *place = right[j];
            j += 1;
            swaps += (left.len() - i) as u64;
        }
    }
    swaps
}
