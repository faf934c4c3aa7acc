//! Four bits for every record of a run: memory stays small (5 MB for 10 million records).

/// A growing array of values from 0 to 15, initially 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nibbles {
    bytes: Vec<u8>,
}

impl Nibbles {
    /// Room for `len` values without growing.
    pub(crate) fn with_len(len: u64) -> Nibbles {
        Nibbles {
            bytes: vec![0; index(len.div_ceil(2))],
        }
    }

    /// The value of `seq`; 0 if it was never set.
    pub(crate) fn get(&self, seq: u64) -> u8 {
        let byte = self.bytes.get(index(seq / 2)).copied().unwrap_or(0);
        if seq.is_multiple_of(2) {
            byte & 0xf
        } else {
            byte >> 4
        }
    }

    /// Sets the value of `seq`; only the low four bits count.
    pub(crate) fn set(&mut self, seq: u64, value: u8) {
        let at = index(seq / 2);
        if at >= self.bytes.len() {
            self.bytes.resize(at + 1, 0);
        }
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte = match seq % 2 {
                0 => (*byte & 0xf0) | (value & 0xf),
                _ => (*byte & 0x0f) | (value << 4),
            };
        }
    }
}

/// An index that does not fit belongs to a run that no machine can hold: the allocation fails
/// before.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::Nibbles;

    #[test]
    fn neighbours_do_not_disturb_each_other() {
        let mut nibbles = Nibbles::with_len(1);
        for seq in 0..33 {
            nibbles.set(seq, 15);
        }
        nibbles.set(7, 3);
        assert_eq!(
            (nibbles.get(6), nibbles.get(7), nibbles.get(8)),
            (15, 3, 15)
        );
        assert_eq!(nibbles.get(1_000_000_000), 0);
    }
}
