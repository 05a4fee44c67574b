//! Backups as `docs/operations.md` describes them, read and changed by nothing but that description.

use countersign_token::digest::MacKey;
use sha2::{Digest as _, Sha256};

const HEAD: usize = b"countersign backup\n\x01".len();
const SEAL: usize = 64;

pub(super) struct Parsed {
    pub(super) tables: Vec<Table>,
}

pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: u64,
}

impl Parsed {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut tables: Vec<Table> = Vec::new();
        for (tag, body) in records(bytes) {
            match tag {
                b'T' => {
                    let mut texts = values(body).into_iter().map(|(_, value)| String::from_utf8(value).unwrap());
                    let name = texts.next().unwrap();
                    tables.push(Table { name, columns: texts.step_by(2).collect(), rows: 0 });
                }
                b'R' => {
                    let table = tables.last_mut().unwrap();
                    assert_eq!(values(body).len(), table.columns.len());
                    table.rows += 1;
                }
                _ => {}
            }
        }
        Self { tables }
    }
}

fn records(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = &bytes[HEAD..bytes.len() - SEAL];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        records.push((rest[0], &rest[5..5 + length]));
        rest = &rest[5 + length..];
    }
    records
}

fn values(mut rest: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (start, length) = match rest[0] {
            b'N' => (1, 0),
            b'I' => (1, 8),
            b'T' | b'B' => (5, u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize),
            other => panic!("{other} is no value"),
        };
        values.push((rest[0], rest[start..start + length].to_vec()));
        rest = &rest[start + length..];
    }
    values
}

fn record(tag: u8, values: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in values {
        body.push(*kind);
        if matches!(kind, b'T' | b'B') {
            body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        }
        body.extend(value);
    }
    let mut record = vec![tag];
    record.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    record.extend(body);
    record
}

/// With the same number of bytes in place of others.
pub(super) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is in there");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// Of another version of the schema.
pub(super) fn of_schema(bytes: &[u8], schema: i64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // After the tag and the length of the record, and the tag of the value.
    bytes[HEAD + 6..HEAD + 14].copy_from_slice(&schema.to_be_bytes());
    bytes
}

/// Without some tables, and without some columns of others.
pub(super) fn without(bytes: &[u8], tables: &[&str], columns: &[(&str, &str)]) -> Vec<u8> {
    let mut new = bytes[..HEAD].to_vec();
    let (mut skip, mut drop, mut rows) = (false, Vec::new(), 0_i64);
    for (tag, body) in records(bytes) {
        let mut values = values(body);
        match tag {
            b'T' => {
                let name = String::from_utf8(values[0].1.clone()).unwrap();
                skip = tables.contains(&name.as_str());
                drop.clear();
                for (_, column) in columns.iter().filter(|(of, _)| name == *of) {
                    let at = values.iter().position(|(_, text)| text == column.as_bytes()).unwrap();
                    values.drain(at..at + 2);
                    drop.push((at - 1) / 2);
                }
            }
            b'R' => {
                rows += i64::from(!skip);
                for at in &drop {
                    values.remove(*at);
                }
            }
            b'E' => {
                skip = false;
                values = vec![(b'I', rows.to_be_bytes().to_vec())];
            }
            _ => {}
        }
        if !skip {
            new.extend(record(tag, &values));
        }
    }
    new.extend([0; SEAL]);
    new
}

/// With the digest of what it is now.
pub(super) fn with_new_digest(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - SEAL;
    let digest = Sha256::digest(&bytes[..end]);
    bytes[end..end + 32].copy_from_slice(&digest);
    bytes
}

/// With the seal of what it is now.
pub(super) fn sealed(bytes: Vec<u8>, key: &MacKey) -> Vec<u8> {
    let mut bytes = with_new_digest(bytes);
    let end = bytes.len() - SEAL;
    let mac = key.mac(&[&bytes[end..end + 32]]);
    bytes[end + 32..].copy_from_slice(&mac);
    bytes
}
