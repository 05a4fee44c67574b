//! `--help` of every command, as one snapshot.

use std::path::Path;

use crate::world::World;

/// The names of the commands that a help text lists.
pub(crate) fn commands(help: &str) -> Vec<String> {
    let section = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    // A name stands two spaces in; whatever stands further in goes on with the line before.
    let lines = section.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

fn collect(world: &World, path: &[&str], all: &mut String) {
    let mut arguments = path.to_vec();
    arguments.push("--help");
    let help = world.run(&arguments).ok();
    assert!(help.contains("\nExamples:\n"), "countersign {} has no examples", path.join(" "));
    assert!(!help.contains('\u{1b}'), "colours belong on a terminal");
    let over: Vec<&str> = help.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(over.is_empty(), "too wide: {over:?}");
    all.push_str(&format!("$ countersign {}\n{help}\n", arguments.join(" ")));
    for name in commands(&help) {
        let mut deeper = path.to_vec();
        deeper.push(&name);
        collect(world, &deeper, all);
    }
}

#[test]
fn every_command_explains_itself() {
    let mut all = String::new();
    collect(&World::new(), &[], &mut all);
    insta::assert_snapshot!(all);
}

/// The words of a line as a shell takes them, up to the first that is for the shell; what it would fill in stands for an id.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in line.chars().chain([' ']) {
        match (letter, quote) {
            (letter, Some(begun)) if letter == begun => quote = None,
            ('\'' | '"', None) => quote = Some(letter),
            (' ', None) if word.is_empty() => {}
            (' ', None) => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    let end = words.iter().position(|word| word.starts_with(['|', '>', '#']) || word.starts_with("<t"));
    words.truncate(end.unwrap_or(words.len()));
    let of_tokens = words.first().is_some_and(|word| word == "service-token");
    for word in &mut words {
        if ["ID", "<id>", "$COUNTERSIGN_ACCOUNT_ID"].contains(&word.as_str()) {
            let is_account = word != "<id>";
            let id =
                if of_tokens { "0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b" } else { "01kdvdna003nqk8n7f8f9jbg8d18q7tm" };
            *word = if is_account { "0".repeat(32) } else { id.to_owned() };
        }
    }
    words
}

/// The commands that a text shows behind `prompt`, each in one line.
fn shown(text: &str, prompt: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    text.lines().filter_map(|line| line.strip_prefix(prompt)).map(str::to_owned).collect()
}

/// Whatever a page or a help text tells people to type is understood. `--help` at the end keeps it from being done.
#[test]
fn every_command_that_is_shown_can_be_typed() {
    let world = World::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|page| page.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|end| end == "md")).chain([root.join("README.md")]);
    let pages: String = pages.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut help = String::new();
    collect(&world, &[], &mut help);
    let help: String =
        help.split("\nExamples:\n").skip(1).map(|rest| format!("{}\n", rest.split("\n\n").next().unwrap())).collect();
    let commands = [shown(&pages, "$ countersign "), shown(&help, "  countersign ")].concat();
    assert!(commands.len() > 100, "{}", commands.len());
    for command in commands {
        let command = command.replace("$(date +%F)", "2026-05-01");
        let mut arguments = words(&command);
        arguments.push("--help".to_owned());
        let outcome = world.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(outcome.code, Some(0), "countersign {command}: {}", outcome.stderr);
    }
}

#[test]
fn the_version_is_told() {
    let said = World::new().run(&["--version"]).ok();
    assert_eq!(said, format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
}
