//! `--help` of every command, as one snapshot.

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

#[test]
fn the_version_is_told() {
    let said = World::new().run(&["--version"]).ok();
    assert_eq!(said, format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
}
