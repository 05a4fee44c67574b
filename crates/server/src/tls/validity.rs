//! When a certificate ends: the one thing of it that is read here, and not by the TLS library.

use countersign_token::time::Timestamp;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The last second in which a certificate (X.509 in DER) is valid; `None` if that can't be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let mut signed = Elements(Elements(certificate).expect(SEQUENCE)?).expect(SEQUENCE).map(Elements)?;
    let (mut tag, _) = signed.next()?;
    if tag == VERSION {
        (tag, _) = signed.next()?;
    }
    // The serial number; then the signature's algorithm and the issuer.
    (tag == INTEGER).then_some(())?;
    signed.expect(SEQUENCE)?;
    signed.expect(SEQUENCE)?;
    let mut validity = Elements(signed.expect(SEQUENCE)?);
    validity.next()?;
    let (tag, time) = validity.next()?;
    parse_time(tag, std::str::from_utf8(time).ok()?)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, as RFC 5280 demands.
fn parse_time(tag: u8, text: &str) -> Option<Timestamp> {
    let (century, rest) = match tag {
        UTC_TIME if text.get(..2)? >= "50" => ("19", text),
        UTC_TIME => ("20", text),
        GENERALIZED_TIME => text.split_at_checked(2)?,
        _ => return None,
    };
    let part = |from: usize| rest.get(from..from + 2);
    let (year, month, day) = (part(0)?, part(2)?, part(4)?);
    let (hour, minute, second) = (part(6)?, part(8)?, part(10)?);
    (rest.get(12..) == Some("Z")).then_some(())?;
    Timestamp::parse_rfc3339(&format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

/// DER elements behind one another.
struct Elements<'d>(&'d [u8]);

impl<'d> Elements<'d> {
    /// The tag and the content of the next element.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let [tag, length, rest @ ..] = self.0 else { return None };
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            // More than four bytes of length are no certificate's.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(length & 0x0f))?;
                (length.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next element, which must have this tag.
    fn expect(&mut self, expected: u8) -> Option<&'d [u8]> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(["countersign.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(year, 11, 22);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read() {
        for year in [1999, 2026, 2049, 2050, 9999] {
            let expected = format!("{year}-11-22T00:00:00Z");
            assert_eq!(not_after(&certificate(year)).map(|at| at.to_string()), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_certificate(position in 0..400_usize, byte: u8, length in 0..600_usize) {
            let mut certificate = certificate(2030);
            certificate[position % 200] = byte;
            certificate.truncate(length);
            // It may have become another time; it does not panic.
            let _ = not_after(&certificate);
            prop_assert_eq!(not_after(&certificate[..length.min(certificate.len()).min(100)]), None);
        }
    }
}
