//! What a proxy demands of a credential: where it must belong, perhaps which ones are admitted, and perhaps for whom an
//! assertion is to be made.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::id::{AccountId, AccountPfid, EnvironmentId, ServiceTokenId, ZoneId};
use crate::index::{Candidate, EntryKind, Index, NOBODY, State};

/// What a credential must meet. It belongs to the index that it was made with.
///
/// The default demands nothing, and nothing meets it: whoever forgets to say what a credential must belong to admits none.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    account: Option<u32>,
    zone: Option<(ZoneId, u32)>,
    environment: Option<(EnvironmentId, u32)>,
    service_tokens: Vec<ServiceTokenId>,
    audience: Option<Box<str>>,
    carries_429: Option<()>,
    from: Option<IpAddr>,
}

impl Demand {
    /// Parses the query of a gate's URL, and the name of the single header if it gives one.
    ///
    /// `account_id` (hex or PFID), `zone_id` (hex), `environment_id` (PFID): at least one, each at most once, and all must
    /// be met. `service_token_id`: any number, also several in one value with commas between; one of them must be
    /// presented. `header`: the name of the header that carries a pair as JSON. `throttle_status`: `429`, where the proxy
    /// passes that on. An id that nobody has is no error and never met.
    ///
    /// # Errors
    /// When a value is malformed, a parameter is unknown or repeated, or none of the three is there.
    pub fn parse<'q>(query: &'q str, index: &Index) -> Result<(Self, Option<Cow<'q, str>>), DemandError> {
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
        let decoded = parameters.map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Self::of_parameters(decoded, index)
    }

    /// The same of parameters that are no query: names and values as they are meant.
    ///
    /// # Errors
    /// As [`Self::parse`], and where a parameter is an error.
    #[inline]
    pub fn of_parameters<'q>(
        parameters: impl IntoIterator<Item = Result<(Cow<'q, str>, Cow<'q, str>), DemandError>>,
        index: &Index,
    ) -> Result<(Self, Option<Cow<'q, str>>), DemandError> {
        let mut demand = Self::default();
        let mut header = None;
        for parameter in parameters {
            let (name, value) = parameter?;
            match name.as_ref() {
                "account_id" => {
                    let account = parse_account(&value, index)?;
                    set_once(&mut demand.account, account, "account_id")?;
                }
                "zone_id" => {
                    let zone: ZoneId = value.parse().ok().ok_or(DemandError::ZoneId)?;
                    let account = index.zone_account(&zone);
                    set_once(&mut demand.zone, (zone, number(index, account)), "zone_id")?;
                }
                "environment_id" => {
                    let environment: EnvironmentId = value.parse().ok().ok_or(DemandError::EnvironmentId)?;
                    let account = index.environment_account(&environment);
                    set_once(&mut demand.environment, (environment, number(index, account)), "environment_id")?;
                }
                "service_token_id" => {
                    for id in value.split(',') {
                        demand.service_tokens.push(id.parse().ok().ok_or(DemandError::ServiceTokenId)?);
                    }
                }
                "header" => set_once(&mut header, parse_header(value)?, "header")?,
                "aud" => set_once(&mut demand.audience, parse_audience(&value)?, "aud")?,
                "throttle_status" => {
                    if value != "429" {
                        return Err(DemandError::ThrottleStatus);
                    }
                    set_once(&mut demand.carries_429, (), "throttle_status")?;
                }
                _ => return Err(DemandError::Unknown),
            }
        }
        if demand.is_empty() { Err(DemandError::Missing) } else { Ok((demand, header)) }
    }

    /// Demands that the credential belongs to an account, or to a zone or environment of it.
    #[must_use]
    pub fn with_account(mut self, index: &Index, id: &AccountId) -> Self {
        self.account = Some(number(index, Some(*id)));
        self
    }

    /// Demands a service token of a zone, or of the zone's account as a whole.
    #[must_use]
    pub fn with_zone(mut self, index: &Index, id: &ZoneId) -> Self {
        self.zone = Some((*id, number(index, index.zone_account(id))));
        self
    }

    /// Demands an API token of an environment, or of the environment's account as a whole.
    #[must_use]
    pub fn with_environment(mut self, index: &Index, id: &EnvironmentId) -> Self {
        self.environment = Some((*id, number(index, index.environment_account(id))));
        self
    }

    /// Adds a service token to those that are admitted; without any, all are.
    #[must_use]
    pub fn with_service_token(mut self, id: ServiceTokenId) -> Self {
        self.service_tokens.push(id);
        self
    }

    /// Says where the credential is presented from, as far as that is known: without, one is refused that may only come from
    /// some networks.
    #[must_use]
    pub fn presented_from(mut self, address: Option<IpAddr>) -> Self {
        self.from = address;
        self
    }

    /// For whom an assertion is to be made; `None` if nobody asks for one. It needs no escaping in JSON.
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Whether the proxy passes on the status 429, and the client may so be told to slow down.
    pub fn carries_429(&self) -> bool {
        self.carries_429.is_some()
    }

    pub(crate) fn from(&self) -> Option<IpAddr> {
        self.from
    }

    fn is_empty(&self) -> bool {
        self.account.is_none() && self.zone.is_none() && self.environment.is_none()
    }

    /// Whether a credential that is good meets the demand.
    #[inline]
    pub(crate) fn is_met(&self, index: &Index, candidate: &Candidate) -> bool {
        let account = candidate.words.account;
        let account_is_met = self.account.is_none_or(|demanded| demanded == account);
        if !account_is_met || account == NOBODY || self.is_empty() {
            return false;
        }
        let plain = self.zone.is_none()
            && self.environment.is_none()
            && self.service_tokens.is_empty()
            && self.audience.is_none();
        plain || self.details_meet(index, candidate)
    }

    #[inline(never)]
    fn details_meet(&self, index: &Index, candidate: &Candidate) -> bool {
        let words = &candidate.words;
        let is_service_token = words.state.kind() == EntryKind::Service;
        let is_of = |account: u32| account == words.account;
        // What isn't confined needs no look at the details.
        let is_confined = words.state.has(State::SCOPED);
        let zone_is_met = self.zone.is_none_or(|(zone, account)| {
            is_service_token && is_of(account) && (!is_confined || index.zone(candidate) == Some(zone))
        });
        let environment_is_met = self.environment.is_none_or(|(environment, account)| {
            !is_service_token && is_of(account) && (!is_confined || index.environment(candidate) == Some(environment))
        });
        let token_is_met = self.service_tokens.is_empty()
            || index.service_token_id(candidate).is_some_and(|id| self.service_tokens.contains(&id));
        // Nothing says what an assertion of any other kind would be.
        let can_be_asserted = self.audience.is_none() || is_service_token;
        zone_is_met && environment_is_met && token_is_met && can_be_asserted
    }
}

/// Why a gate's URL states no demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DemandError {
    /// Neither account, zone nor environment.
    #[error("the URL names no account_id, zone_id or environment_id")]
    Missing,
    /// A parameter that has one value stands there twice.
    #[error("the parameter {0} is repeated")]
    Repeated(&'static str),
    /// A parameter that doesn't exist: a slip must not widen a demand.
    #[error(
        "the URL has a parameter that is none of account_id, zone_id, environment_id, service_token_id, header, aud, \
         throttle_status"
    )]
    Unknown,
    /// A percent sign without two hexadecimal digits, or what they stand for is no UTF-8.
    #[error("the query is not well encoded")]
    Encoding,
    /// Not an account's id.
    #[error("account_id must be 32 lower-case hexadecimal digits or a PFID")]
    AccountId,
    /// Not a zone's id.
    #[error("zone_id must be 32 lower-case hexadecimal digits")]
    ZoneId,
    /// Not an environment's id.
    #[error("environment_id must be a PFID")]
    EnvironmentId,
    /// Not a service token's id.
    #[error("service_token_id must be a UUID in lower case with hyphens")]
    ServiceTokenId,
    /// Not a header's name, or one that has a meaning of its own.
    #[error("header must be a header's name, other than those of the pair")]
    Header,
    /// Not an audience.
    #[error("aud must be 1 to 128 visible ASCII characters other than the quotation mark and the backslash")]
    Audience,
    /// Not the one status that there is to choose.
    #[error("throttle_status must be 429")]
    ThrottleStatus,
}

fn parse_account(text: &str, index: &Index) -> Result<u32, DemandError> {
    if let Ok(id) = text.parse::<AccountId>() {
        // Some texts are both. No account has two such ids but by a chance of 2^-128.
        if let Some(number) = index.account_number(&id) {
            return Ok(number);
        }
    }
    match (text.parse::<AccountPfid>(), text.parse::<AccountId>()) {
        (Ok(pfid), _) => Ok(number(index, index.resolve_account_pfid(&pfid))),
        (Err(_), Ok(_)) => Ok(NOBODY),
        (Err(_), Err(_)) => Err(DemandError::AccountId),
    }
}

fn parse_header(name: Cow<'_, str>) -> Result<Cow<'_, str>, DemandError> {
    const NAME_MAX: usize = 64;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_token);
    let is_of_pair = crate::credential::PAIR_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header));
    if is_name && !is_of_pair { Ok(name) } else { Err(DemandError::Header) }
}

fn parse_audience(text: &str) -> Result<Box<str>, DemandError> {
    const LENGTH_MAX: usize = 128;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    let is_audience = (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(is_plain);
    if is_audience { Ok(text.into()) } else { Err(DemandError::Audience) }
}

fn number(index: &Index, account: Option<AccountId>) -> u32 {
    account.and_then(|account| index.account_number(&account)).unwrap_or(NOBODY)
}

fn set_once<T>(place: &mut Option<T>, value: T, name: &'static str) -> Result<(), DemandError> {
    match place.replace(value) {
        Some(_) => Err(DemandError::Repeated(name)),
        None => Ok(()),
    }
}

/// Decodes a part of a query: `%` with two digits, `+` for a space.
fn decode(text: &str) -> Result<Cow<'_, str>, DemandError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = rest.next().zip(rest.next()).ok_or(DemandError::Encoding)?;
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = digit(digits.0).zip(digit(digits.1)).ok_or(DemandError::Encoding)?;
                high << 4 | low
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned).ok_or(DemandError::Encoding)
}

#[cfg(test)]
mod tests;
