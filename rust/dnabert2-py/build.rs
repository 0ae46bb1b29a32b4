//! Names the profile that cargo builds with, so that a benchmark can record it.

use std::path::Path;

fn main() {
    // Cargo has no variable for it, but the folder of a profile holds `build/<package>/out`.
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name);
    let profile = profile.and_then(|name| name.to_str()).expect("target/PROFILE/build/PACKAGE/out");
    println!("cargo::rustc-env=BUILD_PROFILE={profile}");
    println!("cargo::rerun-if-changed=build.rs");
}
