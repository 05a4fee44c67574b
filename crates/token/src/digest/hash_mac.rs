//! SHA-256 and HMAC-SHA-256 for messages that fit one block, from the compression function itself.
//!
//! A digest is three compressions; the general implementations spend another quarter of that on buffers.

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

type State = [u32; 8];
type Block = [u8; 64];

/// What one block holds besides the padding's mark and the length.
const SHORT_MAX: usize = 55;

const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

pub(super) fn sha256(message: &[u8]) -> [u8; 32] {
    if message.len() <= SHORT_MAX {
        bytes_of(compressed(INITIAL, &last_block([message], 0)))
    } else {
        Sha256::digest(message).into()
    }
}

/// HMAC-SHA-256 under one key of 32 bytes, for a name and a hash. The key's own two blocks are compressed once.
#[derive(Clone)]
pub(super) struct HashMac {
    inner: State,
    outer: State,
}

impl HashMac {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let keyed = |pad: u8| {
            let mut block = [pad; 64];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let state = compressed(INITIAL, &block);
            block.zeroize();
            state
        };
        Self { inner: keyed(0x36), outer: keyed(0x5c) }
    }

    /// The code of `name ‖ hash`.
    pub(super) fn mac<const N: usize>(&self, name: &[u8; N], hash: &[u8; 32]) -> [u8; 32] {
        const { assert!(N + 32 <= SHORT_MAX, "the message must fit one block") };
        let inner = bytes_of(compressed(self.inner, &last_block([name, hash], 1)));
        bytes_of(compressed(self.outer, &last_block([&inner], 1)))
    }
}

impl Drop for HashMac {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// A message's last block with its padding, after a number of whole blocks. The parts are `SHORT_MAX` bytes at most.
#[inline]
fn last_block<const P: usize>(parts: [&[u8]; P], blocks_before: usize) -> Block {
    let mut block = [0; 64];
    let mut length = 0;
    for part in parts {
        if let Some(place) = block.get_mut(length..length + part.len()) {
            place.copy_from_slice(part);
        }
        length += part.len();
    }
    if let Some(mark) = block.get_mut(length) {
        *mark = 0x80;
    }
    if let Some(place) = block.last_chunk_mut() {
        *place = ((blocks_before * 64 + length) as u64 * 8).to_be_bytes();
    }
    block
}

#[inline]
fn compressed(mut state: State, block: &Block) -> State {
    compress256(&mut state, std::slice::from_ref(block));
    state
}

#[inline]
fn bytes_of(state: State) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *place = word.to_be_bytes();
    }
    bytes
}
