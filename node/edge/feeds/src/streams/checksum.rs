//! The checksum of a book, by which a client knows that its own copy is right.
//!
//! CRC-32 (IEEE 802.3: polynomial 0xEDB88320 reflected, as in zlib and PNG) over ASCII text. The text goes down both sides together, best
//! level first, for [CHECKSUM_LEVELS] levels: the bid of that depth as `price:size`, then the ask of that depth, each as the decimal text
//! of the stream; a side that has no level there adds nothing; everything is joined by `:`. Bids 99 x 2 and 98 x 1 with an ask 101 x 0.5
//! give `99:2:101:0.5:98:1`. An empty book gives the empty text, whose checksum is 0.

use crate::book::{Book, Level};
use keel_types::{Price, Side, format_quantums};

/// Levels of each side that the checksum covers. A client that is right at the top 25 has applied what it was sent.
pub const CHECKSUM_LEVELS: usize = 25;

/// The text under the checksum, see the module.
pub fn checksum_text(book: &Book) -> String {
    let (bids, asks) = (book.levels(Side::Buy, CHECKSUM_LEVELS), book.levels(Side::Sell, CHECKSUM_LEVELS));
    let mut text = String::with_capacity(64 * CHECKSUM_LEVELS);
    for depth in 0..bids.len().max(asks.len()) {
        for level in [bids.get(depth), asks.get(depth)].into_iter().flatten() {
            push(&mut text, level);
        }
    }
    text
}

fn push(text: &mut String, (price, level): &(Price, Level)) {
    if !text.is_empty() {
        text.push(':');
    }
    text.push_str(&price.to_string());
    text.push(':');
    // 2^32 orders of the largest size stay far inside i128.
    text.push_str(&format_quantums(level.size as i128));
}

/// The checksum of a book.
pub fn checksum(book: &Book) -> u32 {
    crc32(checksum_text(book).as_bytes())
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut value, mut bit) = (i as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
};

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| (crc >> 8) ^ TABLE[usize::from((crc as u8) ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_types::{QUANTUMS_PER_UNIT, Qty};

    #[test]
    fn crc32_has_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn the_text_goes_down_both_sides_together() {
        let mut book = Book::default();
        let unit = QUANTUMS_PER_UNIT;
        assert_eq!(checksum(&book), 0);
        for (side, price, size) in
            [(Side::Buy, 98 * unit, unit), (Side::Buy, 99 * unit, 2 * unit), (Side::Sell, 101 * unit, unit / 2)]
        {
            book.add(side, Price(price), Qty(size));
        }
        assert_eq!(checksum_text(&book), "99:2:101:0.5:98:1");
        for price in 1..=30 {
            book.add(Side::Buy, Price(price * unit), Qty(unit));
        }
        assert_eq!(checksum_text(&book).matches(':').count(), 2 * (CHECKSUM_LEVELS + 1) - 1, "25 bids and 1 ask");
    }
}
