//! The file: a magic line, records, and a seal. `docs/operations.md` says it in full; the two change together.

use std::fmt::Display;
use std::io::{self, BufReader, BufWriter, Read, Write};

use countersign_token::digest::MacKey;
use countersign_token::secret::Secret;
use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::table::{Kind, Table};

const MAGIC: &[u8] = b"countersign backup\n";
const FORMAT: u8 = 1;

/// No record is nearly as long. A length beyond is damage, and must not become an allocation.
const RECORD_MAX: u32 = 64 * 1024 * 1024;

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A part of a backup.
#[derive(Debug)]
pub(super) enum Record {
    /// What the backup is of. The first record.
    Head { schema: i64, installation: String, taken_at: i64, revision: i64, key_check: Vec<u8> },
    /// The installation key, in hexadecimal digits.
    Key(Secret),
    /// The rows that follow are this table's.
    Table { name: String, columns: Vec<(String, Kind)> },
    /// Its values, in the order of the table's columns.
    Row(Vec<Value>),
    /// How many rows there were. The last record.
    End(u64),
}

impl Record {
    pub(super) fn table(table: &Table) -> Self {
        let columns = table.columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        Self::Table { name: table.name.to_owned(), columns }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Head { .. } => b'H',
            Self::Key(_) => b'K',
            Self::Table { .. } => b'T',
            Self::Row(_) => b'R',
            Self::End(_) => b'E',
        }
    }

    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Head { schema, installation, taken_at, revision, key_check } => {
                put_int(to, *schema);
                put_sized(to, b'T', installation.as_bytes());
                put_int(to, *taken_at);
                put_int(to, *revision);
                put_sized(to, b'B', key_check);
            }
            Self::Key(hex) => put_sized(to, b'T', hex.expose().as_bytes()),
            Self::Table { name, columns } => {
                put_sized(to, b'T', name.as_bytes());
                for (name, kind) in columns {
                    put_sized(to, b'T', name.as_bytes());
                    put_sized(to, b'T', kind.text().as_bytes());
                }
            }
            Self::Row(values) => {
                for value in values {
                    match value {
                        Value::Null => to.push(b'N'),
                        Value::Int(int) => put_int(to, *int),
                        Value::Text(text) => put_sized(to, b'T', text.as_bytes()),
                        Value::Bytes(bytes) => put_sized(to, b'B', bytes),
                    }
                }
            }
            Self::End(rows) => put_int(to, i64::try_from(*rows).unwrap_or(i64::MAX)),
        }
    }

    /// `None` for what no writer writes.
    fn decode(tag: u8, body: &[u8]) -> Option<Self> {
        let mut values = Values(body);
        let record = match tag {
            b'H' => Self::Head {
                schema: values.int()?,
                installation: values.text()?,
                taken_at: values.int()?,
                revision: values.int()?,
                key_check: values.bytes()?,
            },
            b'K' => Self::Key(values.text()?.into()),
            b'T' => {
                let name = values.text()?;
                let mut columns = Vec::new();
                while !values.0.is_empty() {
                    columns.push((values.text()?, Kind::parse(&values.text()?)?));
                }
                Self::Table { name, columns }
            }
            b'R' => {
                let mut row = Vec::new();
                while !values.0.is_empty() {
                    row.push(values.value()?);
                }
                Self::Row(row)
            }
            b'E' => Self::End(u64::try_from(values.int()?).ok()?),
            _ => return None,
        };
        values.0.is_empty().then_some(record)
    }
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Bytes => "bytes",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Text, Self::Int, Self::Bytes].into_iter().find(|kind| kind.text() == text)
    }
}

fn put_int(to: &mut Vec<u8>, int: i64) {
    to.push(b'I');
    to.extend(int.to_be_bytes());
}

fn put_sized(to: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    to.push(tag);
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

/// The values that are left of a record.
struct Values<'b>(&'b [u8]);

impl Values<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn sized(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(u32::from_be_bytes(self.take()?)).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken.to_vec())
    }

    fn value(&mut self) -> Option<Value> {
        match self.take()? {
            [b'N'] => Some(Value::Null),
            [b'I'] => Some(Value::Int(i64::from_be_bytes(self.take()?))),
            [b'T'] => String::from_utf8(self.sized()?).ok().map(Value::Text),
            [b'B'] => self.sized().map(Value::Bytes),
            _ => None,
        }
    }

    fn int(&mut self) -> Option<i64> {
        match self.value()? {
            Value::Int(int) => Some(int),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        match self.value()? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        match self.value()? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// What stands at the end of a backup: the SHA-256 of all before, by which anybody notices damage, and its mac under the
/// installation's key, without which nobody can make another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    sha256: [u8; 32],
    mac: [u8; 32],
}

impl Seal {
    fn new(sha256: [u8; 32], key: &MacKey) -> Self {
        Self { sha256, mac: key.mac(&[&sha256]) }
    }

    /// Whether the backup is as somebody with this key has made it.
    pub(super) fn is_by(&self, key: &MacKey) -> bool {
        *self == Self::new(self.sha256, key)
    }
}

/// Writes records.
pub(super) struct Writer<'w> {
    to: BufWriter<&'w mut (dyn Write + Send)>,
    hash: Sha256,
    begun: bool,
}

impl<'w> Writer<'w> {
    pub(super) fn new(to: &'w mut (dyn Write + Send)) -> Self {
        Self { to: BufWriter::with_capacity(1 << 20, to), hash: Sha256::new(), begun: false }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        self.to.write_all(bytes).map_err(Error::Write)
    }

    pub(super) fn write(&mut self, record: &Record) -> Result<(), Error> {
        if !std::mem::replace(&mut self.begun, true) {
            self.put(MAGIC)?;
            self.put(&[FORMAT])?;
        }
        let mut body = Vec::with_capacity(512);
        record.encode(&mut body);
        let too_long = || Error::Write(io::Error::other("a row is too long"));
        let length = u32::try_from(body.len()).ok().filter(|length| *length <= RECORD_MAX).ok_or_else(too_long)?;
        self.put(&[record.tag()])?;
        self.put(&length.to_be_bytes())?;
        self.put(&body)
    }

    /// Ends the backup with its seal. All has been handed to the file then.
    pub(super) fn end(mut self, rows: u64, key: &MacKey) -> Result<Seal, Error> {
        self.write(&Record::End(rows))?;
        let seal = Seal::new(self.hash.finalize().into(), key);
        self.to.write_all(&seal.sha256).map_err(Error::Write)?;
        self.to.write_all(&seal.mac).map_err(Error::Write)?;
        self.to.flush().map_err(Error::Write)?;
        Ok(seal)
    }
}

/// Reads records.
pub(super) struct Reader<'r> {
    from: BufReader<&'r mut (dyn Read + Send)>,
    hash: Sha256,
    at: u64,
}

impl<'r> Reader<'r> {
    pub(super) fn new(from: &'r mut (dyn Read + Send)) -> Result<Self, Error> {
        let mut reader = Self { from: BufReader::with_capacity(1 << 20, from), hash: Sha256::new(), at: 0 };
        let mut magic = [0; MAGIC.len()];
        match reader.fill(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) | Err(Error::Damaged { .. }) => return Err(Error::Foreign),
            Err(error) => return Err(error),
        }
        match reader.take()? {
            [FORMAT] => Ok(reader),
            [found] => Err(Error::Format { found, known: FORMAT }),
        }
    }

    /// Damage at the place that was read last.
    pub(super) fn damaged(&self, problem: impl Display) -> Error {
        Error::Damaged { at: self.at, problem: problem.to_string() }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        match self.from.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.damaged("it is cut off")),
            Err(error) => return Err(Error::Read(error)),
        }
        self.hash.update(&*bytes);
        self.at += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn next(&mut self) -> Result<Record, Error> {
        let [tag] = self.take()?;
        let length = u32::from_be_bytes(self.take()?);
        let unreadable = "what stands there can't be read";
        if length > RECORD_MAX {
            return Err(self.damaged(unreadable));
        }
        let mut body = vec![0; usize::try_from(length).map_err(|error| self.damaged(error))?];
        self.fill(&mut body)?;
        Record::decode(tag, &body).ok_or_else(|| self.damaged(unreadable))
    }

    /// Reads the seal, after which nothing may come, and compares all that was read with it.
    pub(super) fn end(mut self) -> Result<Seal, Error> {
        let actual: [u8; 32] = self.hash.finalize_reset().into();
        let seal = Seal { sha256: self.take()?, mac: self.take()? };
        if seal.sha256 != actual {
            return Err(self.damaged("it is not what was written"));
        }
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(seal),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(error) => Err(Error::Read(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        let columns = vec![("a".to_owned(), Kind::Text), ("b".to_owned(), Kind::Int), ("c".to_owned(), Kind::Bytes)];
        writer.write(&Record::Table { name: "t".to_owned(), columns }).unwrap();
        writer.write(&Record::Row(vec![Value::Text("x".to_owned()), Value::Null, Value::Bytes(vec![0, 255])])).unwrap();
        writer.end(1, &MacKey::from_bytes([1; 32])).unwrap();
        bytes
    }

    fn read(mut bytes: &[u8]) -> Result<Vec<Record>, Error> {
        let mut reader = Reader::new(&mut bytes)?;
        let mut records = Vec::new();
        loop {
            records.push(reader.next()?);
            if let Some(Record::End(_)) = records.last() {
                reader.end()?;
                return Ok(records);
            }
        }
    }

    #[test]
    fn records_come_back() {
        let records = read(&written()).unwrap();
        assert!(matches!(&records[0], Record::Table { name, columns } if name == "t" && columns[2].1 == Kind::Bytes));
        assert!(matches!(&records[1], Record::Row(values) if values[1] == Value::Null && values.len() == 3));
        assert!(matches!(&records[2], Record::End(1)));
    }

    /// The form is kept for ever: an old backup must be readable by every later version.
    #[test]
    fn the_form_is_this() {
        let bytes = written();
        let body = bytes.strip_prefix(b"countersign backup\n\x01").unwrap();
        let table: &[u8] =
            b"T\0\0\0\x33T\0\0\0\x01tT\0\0\0\x01aT\0\0\0\x04textT\0\0\0\x01bT\0\0\0\x03intT\0\0\0\x01cT\0\0\0\x05bytes";
        let row: &[u8] = b"R\0\0\0\x0eT\0\0\0\x01xNB\0\0\0\x02\0\xff";
        let end: &[u8] = b"E\0\0\0\x09I\0\0\0\0\0\0\0\x01";
        assert_eq!(body[..body.len() - 64], [table, row, end].concat());
    }

    #[test]
    fn every_change_is_noticed() {
        let whole = written();
        for at in 0..whole.len() - 32 {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "cut off at {length}");
        }
        assert!(read(&[whole.as_slice(), b"x"].concat()).is_err(), "longer");
    }

    #[test]
    fn a_seal_is_of_its_key() {
        let seal = Seal::new([7; 32], &MacKey::from_bytes([1; 32]));
        assert!(seal.is_by(&MacKey::from_bytes([1; 32])));
        assert!(!seal.is_by(&MacKey::from_bytes([2; 32])));
    }

    #[test]
    fn other_files_are_told_from_damaged_ones() {
        assert!(matches!(read(b""), Err(Error::Foreign)));
        assert!(matches!(read(b"SQLite format 3\0 and so on and on"), Err(Error::Foreign)));
        assert!(matches!(read(b"countersign backup\n\x02"), Err(Error::Format { found: 2, known: 1 })));
        let huge = [MAGIC, &[FORMAT], b"R\xff\xff\xff\xff"].concat();
        assert!(matches!(read(&huge), Err(Error::Damaged { .. })));
    }
}
