use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn list(text: &str) -> AllowFrom {
    text.parse().unwrap()
}

#[test]
fn lists_are_read_and_written() {
    let check = |text: &str, expected: &str| assert_eq!(list(text).to_string(), expected, "{text}");
    check("10.0.0.0/8", "10.0.0.0/8");
    check("192.0.2.7", "192.0.2.7/32");
    check("2001:DB8::/32,::1", "::1/128,2001:db8::/32");
    check("192.0.2.0/24,10.0.0.0/8,192.0.2.0/24", "10.0.0.0/8,192.0.2.0/24");
    check("0.0.0.0/0,::/0", "0.0.0.0/0,::/0");
    // IPv4 in the clothes of IPv6.
    check("::ffff:192.0.2.7", "192.0.2.7/32");
    check("::ffff:10.0.0.0/104", "10.0.0.0/8");
    check("::ffff:0.0.0.0/96", "0.0.0.0/0");
}

#[test]
fn what_is_no_list_is_refused_with_a_reason() {
    let check = |text: &str, expected: &str| {
        assert_eq!(text.parse::<AllowFrom>().map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
    };
    for text in ["", "10.0.0.0/33", "10.0.0", "localhost", " 10.0.0.0/8", "::/129", "fe80::1%eth0", "10.0.0.0/8 ", "*"]
    {
        check(text, &format!("`{text}` is neither an address nor a network such as 10.0.0.0/8 or 2001:db8::/32"));
    }
    check(
        "10.1.2.3/8",
        "`10.1.2.3/8` is more than a network: `10.0.0.0/8` is one, and so is the address without a prefix",
    );
    check(
        "::ffff:10.1.2.3/104",
        "`::ffff:10.1.2.3/104` is more than a network: `10.0.0.0/8` is one, and so is the address without a prefix",
    );
    assert_eq!(AllowFrom::parse([]), Err(AllowFromError::Empty));
    let many = |count: u8| (0..count).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>();
    assert!(AllowFrom::parse(many(64).iter().map(String::as_str)).is_ok());
    assert_eq!(AllowFrom::parse(many(65).iter().map(String::as_str)), Err(AllowFromError::TooMany));
}

#[test]
fn an_address_is_in_one_of_the_networks_or_not() {
    let check = |text: &str, address: &str, expected: bool| {
        assert_eq!(list(text).contains(address.parse().unwrap()), expected, "{address} in {text}");
    };
    check("10.0.0.0/8,2001:db8::/32", "10.255.0.1", true);
    check("10.0.0.0/8,2001:db8::/32", "11.0.0.0", false);
    check("10.0.0.0/8,2001:db8::/32", "2001:db8::1", true);
    check("10.0.0.0/8,2001:db8::/32", "2001:db9::1", false);
    check("192.0.2.7", "192.0.2.7", true);
    check("192.0.2.7", "192.0.2.8", false);
    check("10.0.0.0/8", "::ffff:10.1.2.3", true);
    check("::ffff:10.0.0.0/104", "10.1.2.3", true);
    check("::/0", "10.1.2.3", false);
    check("::/0", "::ffff:10.1.2.3", false);
    check("0.0.0.0/0", "::1", false);
}

#[test]
fn a_list_covers_what_its_networks_have_together() {
    let check = |one: &str, other: &str, expected: bool| {
        assert_eq!(list(one).covers(&list(other)), expected, "{one} covers {other}");
    };
    check("10.0.0.0/8", "10.0.0.0/8", true);
    check("10.0.0.0/8", "10.1.0.0/16,10.2.3.4", true);
    check("10.1.0.0/16", "10.0.0.0/8", false);
    check("10.0.0.0/9,10.128.0.0/9", "10.0.0.0/8", true);
    check("10.0.0.0/9,10.128.0.0/10,10.192.0.0/10", "10.0.0.0/8", true);
    check("10.0.0.0/9,10.128.0.0/10", "10.0.0.0/8", false);
    check("0.0.0.0/0", "::/0", false);
    check("::/0", "10.0.0.0/8", false);
    check("::/1,8000::/1,10.0.0.0/8", "::/0,10.1.1.1", true);
}

fn any_network() -> impl Strategy<Value = IpNet> {
    let narrow = (any::<u32>(), 0_u8..=32).prop_map(|(bits, prefix)| {
        // Few networks, so that they meet.
        let address = Ipv4Addr::from(bits & 0xE000_0003);
        IpNet::V4(Ipv4Net::new(address, prefix).unwrap().trunc())
    });
    let wide = (any::<u128>(), 0_u8..=128).prop_map(|(bits, prefix)| {
        let address = Ipv6Addr::from(bits & 3 | 0xFFFF_0000_0000);
        canonical(IpNet::new(address.into(), prefix).unwrap().trunc())
    });
    prop_oneof![narrow, wide]
}

fn any_list() -> impl Strategy<Value = AllowFrom> {
    prop::collection::vec(any_network(), 1..6).prop_map(|networks| {
        let texts: Vec<String> = networks.iter().map(IpNet::to_string).collect();
        AllowFrom::parse(texts.iter().map(String::as_str)).unwrap()
    })
}

proptest! {
    #[test]
    fn a_list_is_read_as_it_was_written(list in any_list()) {
        prop_assert_eq!(list.to_string().parse::<AllowFrom>(), Ok(list));
    }

    /// However an IPv4 address is written, the answer is one.
    #[test]
    fn clothes_make_no_address(list in any_list(), bits in any::<u32>()) {
        let address = Ipv4Addr::from(bits & 0xE000_0003);
        prop_assert_eq!(list.contains(address.into()), list.contains(address.to_ipv6_mapped().into()));
    }

    #[test]
    fn what_is_covered_is_contained(one in any_list(), other in any_list(), bits in any::<u32>()) {
        let address = Ipv4Addr::from(bits & 0xE000_0003).into();
        if one.covers(&other) && other.contains(address) {
            prop_assert!(one.contains(address));
        }
        for end in other.0.iter().flat_map(|network| [network.addr(), network.broadcast()]) {
            prop_assert!(!one.covers(&other) || !other.contains(end) || one.contains(end));
        }
        prop_assert!(one.covers(&one));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        if let Ok(list) = text.parse::<AllowFrom>() {
            prop_assert_eq!(list.to_string().parse::<AllowFrom>(), Ok(list));
        }
    }
}
