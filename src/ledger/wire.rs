//! Numbers as bytes: LEB128 varints, and differences in zigzag encoding.

/// The bytes that remain to be read.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor(bytes)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let digit = u64::from(byte & 0x7f);
            if shift == 63 && digit > 1 {
                return None;
            }
            value |= digit << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number encoded as its difference to `base`.
    pub(super) fn signed(&mut self, base: u64) -> Option<u64> {
        let zigzag = self.varint()?;
        let difference = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        Some(base.wrapping_add(difference))
    }
}

pub(super) fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Encodes `value` as its difference to `base`, in zigzag form, so that small differences are short
/// in both directions. Modulo 2^64, so that every pair has one.
pub(super) fn put_signed(value: u64, base: u64, out: &mut Vec<u8>) {
    let difference = value.wrapping_sub(base).cast_signed();
    put(
        ((difference << 1) ^ (difference >> 63)).cast_unsigned(),
        out,
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_varint_past_64_bits_is_refused() {
        let mut longest = vec![0xff; 9];
        longest.push(1);
        assert_eq!(Cursor::new(&longest).varint(), Some(u64::MAX));
        longest[9] = 2;
        assert_eq!(Cursor::new(&longest).varint(), None);
        assert_eq!(Cursor::new(&[0x80; 11]).varint(), None);
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: u64, base: u64) {
            let mut bytes = Vec::new();
            put(value, &mut bytes);
            put_signed(value, base, &mut bytes);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.varint(), Some(value));
            prop_assert_eq!(cursor.signed(base), Some(value));
            prop_assert!(cursor.is_empty());
        }
    }
}
