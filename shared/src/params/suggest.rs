//! Did-you-mean: the known name closest to an unknown one.
//!
//! Owns the edit distance. Works in two fixed buffers, so the guest can use it before it has memory.

use super::lookup::all_names;

/// Longest name that is compared, in bytes; longer names get no suggestion.
const LONGEST: usize = 64;

/// The known parameter closest to `name`: one that ends in `.name` (`swappiness`), else the one with the
/// fewest edits, at most 3 and at most a third of the name, else the one whose end after a dot has the fewest
/// (`swapiness`). `None` when nothing is close.
#[must_use]
pub fn did_you_mean(name: &str) -> Option<&'static str> {
    let is_tail = |known: &&str| known.strip_suffix(name).is_some_and(|head| head.ends_with('.'));
    if !name.is_empty()
        && let Some(known) = all_names().find(is_tail)
    {
        return Some(known);
    }
    let limit = (name.len() / 3).clamp(1, 3);
    let whole = all_names().filter_map(|known| Some((edit_distance(name, known, limit)?, known)));
    let ends = all_names().flat_map(|known| {
        let dots = known.match_indices('.');
        let ends = dots.filter_map(|(dot, _)| known.get(dot + 1..));
        ends.filter_map(move |end| Some((edit_distance(name, end, limit)?, known)))
    });
    let closest = |(_, known)| known;
    whole
        .min_by_key(|(distance, _)| *distance)
        .map(closest)
        .or_else(|| ends.min_by_key(|(distance, _)| *distance).map(closest))
}

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`, if at most `limit`.
fn edit_distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    if a.is_empty() || a.len() > LONGEST || b.len() > LONGEST || a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before = [0usize; LONGEST + 1];
    let mut above = [0usize; LONGEST + 1];
    for (i, cell) in above.iter_mut().enumerate() {
        *cell = i;
    }
    let mut previous = None;
    for (row, letter) in a.bytes().enumerate() {
        let mut current = [0usize; LONGEST + 1];
        let mut left = row + 1;
        let mut left_letter = None;
        if let Some(first) = current.first_mut() {
            *first = left;
        }
        for (column, other) in b.bytes().enumerate() {
            let at = |cells: &[usize], i: usize| cells.get(i).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&above, column) + usize::from(letter != other);
            best = best.min(at(&above, column + 1) + 1).min(left + 1);
            let swapped = previous == Some(other) && left_letter == Some(letter);
            if swapped && column > 0 {
                best = best.min(at(&before, column - 1) + 1);
            }
            if let Some(cell) = current.get_mut(column + 1) {
                *cell = best;
            }
            left = best;
            left_letter = Some(other);
        }
        before = above;
        above = current;
        previous = Some(letter);
    }
    above.get(b.len()).copied().filter(|distance| *distance <= limit)
}
