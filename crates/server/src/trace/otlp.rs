//! Spans as OTLP has them in JSON, and the caller's trace as W3C Trace Context has it in a header.

use anyhow::Context as _;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::{Attribute, Span};

/// Where a collector takes traces: below its endpoint, as all exporters have it.
pub(super) fn traces_of(endpoint: &Uri) -> anyhow::Result<Uri> {
    let base = endpoint.to_string();
    format!("{}/v1/traces", base.trim_end_matches('/')).parse().context("it is no URL that a path can be added to")
}

/// The span of a caller, from `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) sampled: bool,
}

impl Caller {
    /// `None` if there is no such header, or not one alone, or if it is malformed: then a trace begins here.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        Self::parse(only.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version] = hex(parts.next()?)?;
        let (trace_id, span_id, [flags]) = (hex(parts.next()?)?, hex(parts.next()?)?, hex(parts.next()?)?);
        // Later versions may have more parts, and 255 is none.
        let unknown = version == 0xff || version == 0 && parts.next().is_some();
        let empty = trace_id == [0; 16] || span_id == [0; 8];
        (!unknown && !empty).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    (text.len() == 2 * N).then_some(())?;
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body of a request to a collector.
pub(super) fn encode(spans: &[Span]) -> Vec<u8> {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let version = env!("CARGO_PKG_VERSION");
    let resource = [text("service.name", "countersign"), text("service.version", version)];
    let scope = json!({"name": "countersign", "version": version});
    let spans: Vec<Value> = spans.iter().map(encode_span).collect();
    let body = json!({
        "resourceSpans": [{
            "resource": {"attributes": resource},
            "scopeSpans": [{"scope": scope, "spans": spans}],
        }],
    });
    body.to_string().into_bytes()
}

fn encode_span(span: &Span) -> Value {
    // Numbers of 64 bits are texts in the JSON of protocol buffers.
    let nanos = |at: countersign_token::time::Timestamp| (i128::from(at.as_micros()) * 1000).to_string();
    let attributes: Vec<Value> = span
        .attributes
        .iter()
        .map(|(key, value)| match value {
            Attribute::Text(text) => json!({"key": key, "value": {"stringValue": text}}),
            Attribute::Number(number) => json!({"key": key, "value": {"intValue": number.to_string()}}),
        })
        .collect();
    json!({
        "traceId": shown(&span.trace_id),
        "spanId": shown(&span.span_id),
        "parentSpanId": span.parent_id.map_or_else(String::new, |id| shown(&id)),
        "name": span.name,
        // SERVER or INTERNAL; ERROR or UNSET.
        "kind": if span.is_request { 2 } else { 1 },
        "startTimeUnixNano": nanos(span.started_at),
        "endTimeUnixNano": nanos(span.ended_at),
        "attributes": attributes,
        "status": {"code": if span.failed { 2 } else { 0 }},
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn callers_are_read_as_the_standard_has_them() {
        let check = |text: &str, expected: Option<bool>| {
            let caller = Caller::parse(text);
            assert_eq!(caller.map(|caller| caller.sampled), expected, "{text}");
            if let Some(caller) = caller {
                assert_eq!((shown(&caller.trace_id).as_str(), shown(&caller.span_id).as_str()), (TRACE, SPAN));
            }
        };
        check(&format!("00-{TRACE}-{SPAN}-01"), Some(true));
        check(&format!("00-{TRACE}-{SPAN}-00"), Some(false));
        check(&format!("00-{TRACE}-{SPAN}-ff"), Some(true));
        check(&format!("cc-{TRACE}-{SPAN}-01-more"), Some(true));
        check(&format!("00-{TRACE}-{SPAN}-01-more"), None);
        check(&format!("ff-{TRACE}-{SPAN}-01"), None);
        check(&format!("00-{}-{SPAN}-01", "0".repeat(32)), None);
        check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check(&format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None);
        check(&format!("00-{TRACE}-{SPAN}"), None);
        check("", None);
    }

    #[test]
    fn traces_go_below_the_endpoint() {
        let check = |endpoint: &str, expected: &str| {
            assert_eq!(traces_of(&endpoint.parse().unwrap()).unwrap().to_string(), expected);
        };
        check("http://collector:4318", "http://collector:4318/v1/traces");
        check("http://collector:4318/", "http://collector:4318/v1/traces");
        check("https://collector/otlp", "https://collector/otlp/v1/traces");
    }

    proptest! {
        #[test]
        fn a_caller_is_what_they_say(text in "[0-9a-f]{2}-[0-9a-f]{30,34}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?") {
            if let Some(caller) = Caller::parse(&text) {
                let again = format!("-{}-{}-", shown(&caller.trace_id), shown(&caller.span_id));
                prop_assert!(text.contains(&again), "{}", text);
            }
        }
    }
}
