//! The nearest known names to an unknown one.

/// Up to three candidates with the smallest edit distance to `name` (ties: earlier first), leaving out those that
/// share less than about half of it. Very long names have no near ones.
pub(crate) fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Vec<String> {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    if name.len() > 64 {
        return Vec::new();
    }
    let limit = 3.max(name.len() / 2);
    let mut best: Vec<(usize, String)> = Vec::new();
    for candidate in candidates {
        let distance = edit_distance(&name, &candidate);
        if distance > limit || best.len() == 3 && distance >= best[2].0 {
            continue;
        }
        let place = best.partition_point(|(d, _)| *d <= distance);
        best.insert(place, (distance, candidate));
        best.truncate(3);
    }
    best.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Levenshtein distance.
fn edit_distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, cb) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..a.len() {
            let substitute = diagonal + usize::from(a[j] != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}
