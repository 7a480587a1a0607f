//! Where does the plotting library of the report come from?
//!
//! From the crate `plotly`, which carries `plotly.min.js`: no copy in this repository, no npm, no download at
//! run time. It is taken out, compressed and encoded here, so that the binary holds 1.9 MB instead of the
//! 4.7 MB of the library and the 2.1 MB of the formula renderer next to it, and the crate itself is no
//! dependency of the product.

use base64::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::error::Error;
use std::io::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let scripts = plotly::Plot::offline_js_sources();
    let library = scripts
        .split("</script>")
        .filter_map(|script| script.split_once('>'))
        .map(|(_, code)| code)
        .find(|code| code.trim_start().starts_with("/**\n* plotly.js"))
        .ok_or("the crate plotly no longer begins with plotly.js; look at Plot::offline_js_sources")?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(library.as_bytes())?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(encoder.finish()?);
    let folder = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&folder).join("plotly.min.js.gz.base64"), encoded)?;
    Ok(())
}
