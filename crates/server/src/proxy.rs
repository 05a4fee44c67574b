//! Which addresses belong to our own proxies, and what these say of where a request came from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The header in which each proxy adds, at the end, the address that asked it.
pub(crate) const FORWARDED_FOR: &str = "x-forwarded-for";

/// How many proxies may stand one behind the other. What lies beyond them was not said by one of ours in earnest.
const HOPS_MAX: usize = 16;

/// The word for whoever asks over the Unix socket.
const SOCKET: &str = "unix";

/// The proxies that are believed. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    socket: bool,
}

/// A word that names no proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address, nor a network such as 10.0.0.0/8, nor `unix`")]
pub struct NoProxy(String);

impl FromStr for TrustedProxies {
    type Err = NoProxy;

    /// Reads addresses, networks and `unix`, with commas between them.
    fn from_str(text: &str) -> Result<Self, NoProxy> {
        let mut proxies = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word == SOCKET {
                proxies.socket = true;
                continue;
            }
            let network = word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
            proxies.networks.push(network.map_err(|_| NoProxy(word.to_owned()))?);
        }
        Ok(proxies)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self.networks.iter().map(IpNet::to_string);
        let words: Vec<_> = networks.chain(self.socket.then(|| SOCKET.to_owned())).collect();
        f.write_str(&words.join(", "))
    }
}

impl TrustedProxies {
    fn trust(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.socket,
            Some(address) => self.networks.iter().any(|network| network.contains(&address)),
        }
    }

    /// As [`Self::client`], of a request with these headers.
    pub(crate) fn client_of(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        self.client(peer, headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes))
    }

    /// Where a request came from: `peer` is the other end of the connection, `None` on a Unix socket, and `values` are those
    /// of `X-Forwarded-For`, each with any number of addresses.
    ///
    /// They are read from the end, as far as our own proxies have written them: the first address that is none of theirs is
    /// the client's. Where a proxy of ours says nothing that can be read, it is the proxy's own address; `None` stands for
    /// the socket. Addresses of IPv4 in the clothes of IPv6 are given as what they are.
    pub(crate) fn client<'v>(
        &self,
        peer: Option<IpAddr>,
        values: impl DoubleEndedIterator<Item = &'v [u8]>,
    ) -> Option<IpAddr> {
        let mut client = peer.map(|address| address.to_canonical());
        let mut said = values.rev().flat_map(|value| value.rsplit(|byte| *byte == b',')).take(HOPS_MAX);
        while self.trust(client) {
            let Some(address) = said.next().and_then(address) else { break };
            client = Some(address);
        }
        client
    }

    /// The client's address, of what [`Self::client`] has found; `None` if that is a proxy's of ours, or the socket: then
    /// nobody has said who came through it.
    pub(crate) fn known(&self, client: Option<IpAddr>) -> Option<IpAddr> {
        client.filter(|_| !self.trust(client))
    }
}

/// An address, perhaps with a port.
fn address(word: &[u8]) -> Option<IpAddr> {
    let word = str::from_utf8(word).ok()?.trim();
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    let address = bare.parse().or_else(|_| word.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXIES: &str = "192.0.2.1, 10.0.0.0/8, fd00::/8";

    fn client(proxies: &str, peer: Option<&str>, said: &[&str]) -> Option<String> {
        let peer = peer.map(|peer| peer.parse().unwrap());
        let proxies: TrustedProxies = proxies.parse().unwrap();
        proxies.client(peer, said.iter().map(|said| said.as_bytes())).map(|address| address.to_string())
    }

    #[test]
    fn a_client_is_the_first_that_is_none_of_ours() {
        let check = |peer, said: &[&str], expected: &str| {
            assert_eq!(client(PROXIES, Some(peer), said).as_deref(), Some(expected), "{peer} {said:?}");
        };
        // Nobody but our proxies is believed.
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("192.0.2.2", &["198.51.100.1"], "192.0.2.2");
        check("192.0.2.1", &["198.51.100.1"], "198.51.100.1");
        // What the client has said itself stands before what our proxies say.
        check("192.0.2.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1");
        check("192.0.2.1", &["10.9.9.9,198.51.100.1 , 10.1.2.3"], "198.51.100.1");
        check("192.0.2.1", &["1.1.1.1", "198.51.100.1", "10.1.2.3,fd00::1"], "198.51.100.1");
        check("192.0.2.1", &["10.0.0.1, 10.0.0.2"], "10.0.0.1");
        // IPv6, with and without a port.
        check("::ffff:192.0.2.1", &["2001:db8::1"], "2001:db8::1");
        check("fd12::1", &["[2001:db8::1]:443"], "2001:db8::1");
        check("fd12::1", &["[2001:db8::1]"], "2001:db8::1");
        check("192.0.2.1", &["::ffff:198.51.100.1"], "198.51.100.1");
        check("192.0.2.1", &["198.51.100.1:1234"], "198.51.100.1");
        check("192.0.2.1", &["198.51.100.1, ::ffff:10.1.1.1"], "198.51.100.1");
        // What can't be read is nobody's word.
        for said in ["", ",", "unknown", "_hidden", "198.51.100.1,", "1.2.3.4.5", "\u{e4}", "256.1.1.1", "fe80::1%eth0"]
        {
            check("192.0.2.1", &["198.51.100.7", said], "192.0.2.1");
        }
        check("192.0.2.1", &[], "192.0.2.1");
    }

    #[test]
    fn a_socket_is_believed_only_where_it_is_named() {
        assert_eq!(client("10.0.0.0/8", None, &["198.51.100.1"]), None);
        assert_eq!(client("unix", None, &["198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(client("unix, 10.0.0.0/8", None, &["198.51.100.1,10.0.0.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(client("unix", None, &["nonsense"]), None);
        assert_eq!(client("", Some("192.0.2.1"), &["198.51.100.1"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_proxy_of_ours_is_no_client() {
        let known = |proxies: &str, peer: Option<&str>, said: &[&str]| {
            let proxies: TrustedProxies = proxies.parse().unwrap();
            let peer = peer.map(|peer| peer.parse().unwrap());
            let client = proxies.client(peer, said.iter().map(|said| said.as_bytes()));
            proxies.known(client).map(|address| address.to_string())
        };
        let check = |peer, said: &[&str], expected: Option<&str>| {
            assert_eq!(known(PROXIES, peer, said).as_deref(), expected, "{peer:?} {said:?}");
        };
        check(Some("203.0.113.9"), &["198.51.100.1"], Some("203.0.113.9"));
        check(Some("192.0.2.1"), &["198.51.100.1"], Some("198.51.100.1"));
        check(Some("192.0.2.1"), &["::ffff:198.51.100.1"], Some("198.51.100.1"));
        check(Some("192.0.2.1"), &["198.51.100.1, 10.1.2.3"], Some("198.51.100.1"));
        check(Some("192.0.2.1"), &[], None);
        check(Some("192.0.2.1"), &["198.51.100.7", "unknown"], None);
        check(Some("192.0.2.1"), &["10.0.0.1"], None);
        check(Some("192.0.2.1"), &["198.51.100.1", &["10.0.0.1"; 16].join(",")], None);
        check(None, &["198.51.100.1"], None);
        assert_eq!(known("unix", None, &["198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(known("unix", None, &["nonsense"]), None);
        assert_eq!(known("", Some("192.0.2.1"), &["198.51.100.1"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn words_are_addresses_networks_and_the_socket() {
        let check = |text: &str, expected: &str| {
            let proxies: TrustedProxies = text.parse().unwrap();
            assert_eq!(proxies.to_string(), expected);
        };
        check("", "");
        check(" 10.0.0.0/8,unix,192.0.2.1,::1", "10.0.0.0/8, 192.0.2.1/32, ::1/128, unix");
        for wrong in ["10.0.0.0/33", "localhost", "10.0.0", "*", "10.0.0.0/8 192.0.2.1"] {
            let error = wrong.parse::<TrustedProxies>().expect_err(wrong).to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_chain_without_end_is_left() {
        let said = vec!["10.0.0.1"; 10_000].join(",");
        assert_eq!(client(PROXIES, Some("192.0.2.1"), &["198.51.100.1", &said]).as_deref(), Some("10.0.0.1"));
    }

    proptest! {
        /// Whatever comes before what our proxies have added changes nothing.
        #[test]
        fn a_client_cannot_choose(own in ".{0,60}", hops in 0_usize..5) {
            let mut said = vec![own, "198.51.100.1".to_owned()];
            said.extend((0..hops).map(|hop| format!("10.0.0.{hop}")));
            let said: Vec<_> = said.iter().map(String::as_str).collect();
            let found = client(PROXIES, Some("192.0.2.1"), &said);
            prop_assert_eq!(found.as_deref(), Some("198.51.100.1"));
            let joined = said.join(",");
            prop_assert_eq!(client(PROXIES, Some("192.0.2.1"), &[&joined]), found);
        }
    }
}
