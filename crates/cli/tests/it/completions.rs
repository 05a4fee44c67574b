//! `completions`: every command is known to every shell, and bash completes what is begun.

use std::process::Command;

use crate::help::commands;
use crate::world::World;

/// Every command with its subcommands, as `--help` lists them.
fn listed(world: &World) -> Vec<(String, Vec<String>)> {
    let of = |path: &[&str]| commands(&world.run(&[path, &["--help"]].concat()).ok());
    of(&[]).into_iter().map(|name| (name.clone(), of(&[&name]))).collect()
}

#[test]
fn every_shell_knows_every_command() {
    let world = World::new();
    let listed = listed(&world);
    assert!(listed.iter().any(|(name, inner)| name == "api-token" && inner.contains(&"suspend".to_owned())));
    for (shell, line) in [
        // How each writes that a word is one of the commands, and one of another's.
        ("bash", ["countersign,NAME)", "countersign__subcmd__OUTER,INNER)"]),
        ("zsh", ["'NAME:", "'INNER:"]),
        ("fish", ["-a \"NAME\" -d", "-a \"INNER\" -d"]),
        ("elvish", ["cand NAME '", "cand INNER '"]),
        ("powershell", ["[CompletionResult]::new('NAME', ", "[CompletionResult]::new('INNER', "]),
    ] {
        let script = world.run(&["completions", shell]).ok();
        for (name, inner) in &listed {
            let expected = line[0].replace("NAME", name);
            assert!(script.contains(&expected), "{shell} knows nothing of `{name}`: {expected}");
            for inner in inner {
                let outer = name.replace('-', "__subcmd__");
                let expected = line[1].replace("OUTER", &outer).replace("INNER", inner);
                assert!(script.contains(&expected), "{shell} knows nothing of `{name} {inner}`: {expected}");
            }
        }
    }
}

#[test]
fn bash_completes_what_is_begun() {
    let world = World::new();
    let script = world.path("countersign.bash");
    std::fs::write(&script, world.run(&["completions", "bash"]).ok()).unwrap();
    let completed = |words: &[&str]| {
        let program = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                       _countersign countersign \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; \
                       echo \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", program, "bash"]).arg(&script).args(words);
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed(&["countersign", "ser"]), "serve service-token");
    assert_eq!(completed(&["countersign", "api-token", "su"]), "suspend");
    assert_eq!(completed(&["countersign", "serve", "--gate-l"]), "--gate-listen");
    assert_eq!(completed(&["countersign", "serve", "--log-format", ""]), "human json");
}

#[test]
fn an_unknown_shell_is_wrong_usage() {
    let said = World::new().run(&["completions", "tcsh"]).failed(2);
    assert!(said.contains("bash"), "{said}");
}
