//! The known word closest to an unknown one (*did you mean*), if it is likely a typo.

/// The word of `known` that is closest to `word`, if `word` is likely a typo of it.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The time to compute the distance grows with the product of the lengths; no key is this long.
    if word.len() > 2 * super::values::NAME_MAX {
        return None;
    }
    // One edit per three characters, at least two: `quorom`, `down_after`, `sentinels`.
    let limit = (word.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        // If the edits replace the whole word, it is another word and not a typo.
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_hand_is_recognised() {
        let known = ["name", "quorum", "down_after_ms"];
        for (word, meant) in [
            ("quorom", "quorum"),
            ("qourum", "quorum"),
            ("down-after-ms", "down_after_ms"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
    }

    #[test]
    fn another_word_is_not_taken_for_a_slip() {
        assert_eq!(nearest("password", ["name", "port", "address"]), None);
        assert_eq!(nearest("", ["a", "b"]), None);
    }
}
