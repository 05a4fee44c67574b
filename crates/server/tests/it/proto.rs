//! The generated code of the gate's gRPC surface, held against the file that it is made of.

use std::path::Path;

#[test]
fn the_generated_code_is_what_the_file_says() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gate/grpc");
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("proto");
    std::fs::create_dir_all(&made).unwrap();
    let files = protox::compile([sources.join("check.proto")], [&sources]).unwrap();
    // A header may hold a secret, so that nothing of a message is ever printed.
    let mut config = prost_build::Config::new();
    config.bytes(["."]).skip_debug(["."]).out_dir(&made).compile_fds(files).unwrap();
    let made = made.join("envoy.service.auth.v3.rs");
    let (made_text, kept) = (std::fs::read_to_string(&made), std::fs::read_to_string(sources.join("proto.rs")));
    assert!(made_text.unwrap() == kept.unwrap(), "check.proto has changed: copy {} to proto.rs", made.display());
}
