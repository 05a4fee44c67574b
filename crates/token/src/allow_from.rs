//! The networks that a credential may be presented from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// How many bits stand before an IPv4 address that is written as one of IPv6.
const MAPPED: u8 = 96;

/// Networks, from 1 to [`AllowFrom::COUNT_MAX`], in order and without repetition. A credential without such a list may be
/// presented from anywhere.
///
/// An IPv4 address that is written as one of IPv6 (`::ffff:192.0.2.1`) is the IPv4 address, in a list and in what is asked
/// of it. No network of IPv6 that is longer than these, `::/0` included, has an IPv4 address in it.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowFrom(Box<[IpNet]>);

impl AllowFrom {
    /// The most networks that a list may have: they are looked at one after the other.
    pub const COUNT_MAX: usize = 64;

    /// Reads each text as a network (`10.0.0.0/8`) or an address.
    ///
    /// # Errors
    /// When there are none or too many, or when one can't be read or says more than its prefix has room for.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, AllowFromError> {
        let mut networks = Vec::new();
        for text in texts {
            if networks.len() == Self::COUNT_MAX {
                return Err(AllowFromError::TooMany);
            }
            networks.push(network(text)?);
        }
        if networks.is_empty() {
            return Err(AllowFromError::Empty);
        }
        networks.sort_unstable();
        networks.dedup();
        Ok(Self(networks.into()))
    }

    /// Whether the address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether every address of `other` is in one of the networks, too.
    pub fn covers(&self, other: &Self) -> bool {
        // What several networks have together, one has after this.
        let whole = IpNet::aggregate(&self.0.to_vec());
        other.0.iter().all(|network| whole.iter().any(|whole| whole.contains(network)))
    }

    /// The networks, each with its prefix.
    pub fn networks(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(IpNet::to_string)
    }
}

fn network(text: &str) -> Result<IpNet, AllowFromError> {
    let unreadable = || AllowFromError::Unreadable(text.to_owned());
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| unreadable())?,
    };
    if network.trunc() != network {
        return Err(AllowFromError::NotAlone {
            given: text.to_owned(),
            network: canonical(network.trunc()).to_string(),
        });
    }
    Ok(canonical(network))
}

/// A network of IPv4 that is written as one of IPv6 as what it is.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(wide) = network else { return network };
    let prefix = wide.prefix_len().checked_sub(MAPPED);
    let narrow = Ipv6Addr::to_ipv4_mapped(&wide.network()).zip(prefix);
    narrow.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

/// With commas between the networks, as [`AllowFrom::from_str`] reads it.
impl fmt::Display for AllowFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, network) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for AllowFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowFrom({self})")
    }
}

impl FromStr for AllowFrom {
    type Err = AllowFromError;

    fn from_str(text: &str) -> Result<Self, AllowFromError> {
        Self::parse(text.split(','))
    }
}

/// Why texts are no list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowFromError {
    /// No network: nobody could come from there.
    #[error("must name at least one network")]
    Empty,
    /// More than [`AllowFrom::COUNT_MAX`].
    #[error("must not name more than {} networks", AllowFrom::COUNT_MAX)]
    TooMany,
    /// Neither an address nor a network.
    #[error("`{0}` is neither an address nor a network such as 10.0.0.0/8 or 2001:db8::/32")]
    Unreadable(String),
    /// An address within a network where the network alone is meant, or the address.
    #[error("`{given}` is more than a network: `{network}` is one, and so is the address without a prefix")]
    NotAlone {
        /// What was given.
        given: String,
        /// The network that it is in.
        network: String,
    },
}

#[cfg(test)]
mod tests;
