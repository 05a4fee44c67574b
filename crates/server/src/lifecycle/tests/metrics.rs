//! `/metrics` of a whole server is what `docs/metrics.md` says, and what is in `packaging/` asks for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::tls::ask_http1;
use super::*;
use crate::tls::tests::Authority;

const PAGE: &str = include_str!("../../../../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../../../../packaging/grafana/countersign.json");
const ALERTS: &str = include_str!("../../../../../packaging/prometheus/alerts.yml");

/// Stands for values that depend on what is asked.
const OPEN: &str = "…";

/// A metric: its type, and the values of each of its labels.
type Shapes = BTreeMap<String, (String, BTreeMap<String, BTreeSet<String>>)>;

/// What the page says.
fn contract() -> Shapes {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    let metrics = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(';').filter_map(|label| {
            let (name, values) = label.split_once(':')?;
            Some((quoted(name).concat(), quoted(values).into_iter().collect()))
        });
        (quoted(cells[1]).concat(), (cells[2].to_owned(), labels.collect()))
    });
    metrics.collect()
}

/// The labels of a sample, without what belongs to histograms.
fn labels(text: &str) -> Vec<(String, String)> {
    let labels = text.split("\",").filter_map(|label| label.split_once('='));
    let labels = labels.map(|(name, value)| (name.trim_matches(',').to_owned(), value.trim_matches('"').to_owned()));
    labels.filter(|(name, _)| name != "le").collect()
}

/// What a text of OpenMetrics shows.
fn exposed(text: &str) -> Shapes {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut shapes: Shapes = types
        .map(|(name, kind)| {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{name}{suffix}"), (kind.to_owned(), BTreeMap::new()))
        })
        .collect();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = sample.rsplit_once(' ').unwrap();
        let (name, of_sample) = series.split_once('{').unwrap_or((series, ""));
        let name = family(&shapes, name).unwrap_or_else(|| panic!("{sample} has no type"));
        let (_, of_metric) = shapes.get_mut(&name).unwrap();
        for (label, value) in labels(of_sample.trim_end_matches('}')) {
            of_metric.entry(label).or_default().insert(value);
        }
    }
    shapes
}

/// The metric that a series belongs to.
fn family(shapes: &Shapes, series: &str) -> Option<String> {
    if shapes.contains_key(series) {
        return Some(series.to_owned());
    }
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix))?;
    shapes.get(base).filter(|(kind, _)| kind == "histogram").map(|_| base.to_owned())
}

#[tokio::test]
async fn the_page_and_a_server_name_the_same_metrics() {
    let (mut home, made) = Home::new().await;
    let authority = Authority::new();
    home.settings.tls = Some(authority.files());
    home.settings.gate_tls = Some(authority.files());
    let serving = home.serve().await;
    let client = authority.client(None, &["http/1.1"]);
    let ask = async |name: &str, path: &str| {
        let stream = client.connect(serving.address(name)).await.unwrap();
        ask_http1(stream, path).await
    };
    assert_eq!(ask("gate", &format!("/verify?account_id={}", made.account.id)).await.0, 401);
    assert_eq!(ask("management", "/client/v4/accounts").await.0, 400);
    assert_eq!(ask("management", "/api/v1/nowhere/at/all").await.0, 404);
    TcpStream::connect(serving.address("gate")).await.unwrap().write_all(b"no TLS at all\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let counted = async {
        while !(text.contains("countersign_tokens{") && text.contains("failures_total{listener=\"gate\"} 1")) {
            text = ask("management", "/metrics").await.1;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect("tokens are counted, and so is the handshake");

    let mut contract = contract();
    let mut exposed = exposed(&text);
    for (name, (_, labels)) in &mut contract {
        for (label, values) in labels {
            if values.remove(OPEN) {
                // Whatever else there is, is one of them.
                let shown = exposed.get_mut(name).and_then(|(_, labels)| labels.get_mut(label));
                let shown = shown.unwrap_or_else(|| panic!("{label} of {name}"));
                let others = shown.len();
                shown.retain(|value| values.contains(value));
                assert!(shown.len() < others, "{label} of {name} is open, and nothing came");
            }
        }
    }
    assert_eq!(exposed, contract);

    for line in [
        "countersign_gate_decisions_total{outcome=\"refuse\",reason=\"missing\"} 1",
        "countersign_gate_duration_seconds_count 1",
        "countersign_management_requests_total{api=\"cloudflare\",route=\"/client/v4/accounts\",status=\"4xx\"} 1",
        "countersign_management_requests_total{api=\"prefactor\",route=\"none\",status=\"4xx\"} 1",
        "countersign_management_duration_seconds_count{api=\"cloudflare\",status=\"4xx\"} 1",
        "countersign_tokens{kind=\"management_token\",state=\"active\"} 1",
        "countersign_tokens{kind=\"api_token\",state=\"active\"} 1",
        "countersign_tokens_expiring{kind=\"api_token\",within=\"30d\"} 0",
        "countersign_nodes 1",
        "countersign_feed_age_limit_seconds 5.0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    }
    let value = |series: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("{series} in {text}"))
    };
    assert!(value("countersign_store_batch_jobs_count") >= 1.0, "the heartbeat, at least");
    assert_eq!(
        value("countersign_store_batch_jobs_count"),
        value("countersign_store_batch_duration_seconds_count"),
        "each has its time"
    );
    let now = Duration::from_micros(u64::try_from(Clock::System.now().as_micros()).unwrap()).as_secs_f64();
    assert!((0.0..600.0).contains(&(now - value("process_start_time_seconds"))));
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") > 10.0);
    assert!(value("countersign_index_size_bytes") > 64.0);
    // What `rcgen` gives a certificate without another word.
    assert_eq!(value("countersign_tls_certificate_expiry_timestamp_seconds{listener=\"gate\"}"), 67_090_118_400.0);
    serving.end().await.unwrap();
}

/// Every expression of the dashboard.
fn expressions(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if ["expr", "definition", "query"].contains(&name.as_str()) => {
                        into.push(text.clone());
                    }
                    field => expressions(field, into),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, into)),
        _ => {}
    }
}

/// The names in an expression that are a metric's, each with its matchers.
fn series(expression: &str) -> Vec<(&str, &str)> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = ["countersign_", "process_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
        let text = &rest[start..];
        let (name, after) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
        let matchers = after.strip_prefix('{').and_then(|inner| Some(inner.split_once('}')?.0));
        found.push((name, matchers.unwrap_or_default()));
        rest = after;
    }
    found
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let contract = contract();
    let mut asked = Vec::new();
    expressions(&serde_json::from_str(DASHBOARD).unwrap(), &mut asked);
    let of_dashboard = asked.len();
    asked.extend(ALERTS.lines().filter_map(|line| Some(line.trim().strip_prefix("expr: ")?.to_owned())));
    assert!(of_dashboard > 20 && asked.len() > of_dashboard + 10, "{asked:?}");
    assert_eq!(
        ALERTS.matches("- alert: ").count(),
        asked.len() - of_dashboard,
        "each alert has its expression on one line"
    );
    let mut used = BTreeSet::new();
    for expression in &asked {
        let mut groups = BTreeSet::from(["le", "instance", "job"].map(str::to_owned));
        for (name, matchers) in series(expression) {
            let family = family(&contract, name).unwrap_or_else(|| panic!("{name} of {expression}"));
            let (kind, labels) = &contract[&family];
            assert_eq!(*kind == "histogram", name != family, "{name} of {expression}");
            groups.extend(labels.keys().cloned());
            for matcher in matchers.split(',').filter(|matcher| !matcher.is_empty()) {
                let (label, value) = matcher.split_once(['=', '!']).unwrap();
                if ["job", "instance"].contains(&label) {
                    continue;
                }
                let known = labels.get(label).unwrap_or_else(|| panic!("{matcher} of {expression}"));
                let value = value.trim_start_matches(['=', '~']).trim_matches('"');
                assert!(known.contains(value) || known.contains(OPEN), "{matcher} of {expression}");
            }
            used.insert(family);
        }
        for (_, by) in expression.match_indices("by (").map(|(at, _)| expression.split_at(at)) {
            let by = by.trim_start_matches("by (").split_once(')').unwrap().0;
            for label in by.split(", ") {
                assert!(groups.contains(label), "by {label} in {expression}");
            }
        }
    }
    // What nobody would see otherwise.
    for name in contract.keys().filter(|name| name.ends_with("_total")) {
        assert!(used.contains(name), "neither the dashboard nor an alert shows {name}");
    }
}
