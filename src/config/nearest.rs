//! "Did you mean": the known word that is written nearly like an unknown one.

/// The word out of `known` that is nearest to `word`, when a slip of the hand can explain it.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs time by the product of the lengths; no key is nearly this long.
    if word.len() > 2 * super::values::NAME_MAX {
        return None;
    }
    // One edit for every three characters, two at least: `quorom`, `down_after`, `sentinels`.
    let limit = (word.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        // A word of which nothing is left after the edits is another word, not a slip.
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
