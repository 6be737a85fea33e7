//! The demo's image: busybox and a page, as an OCI image layout that is made anew each time.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sheave_types::{Digest, Platform};

use super::failed;
use crate::error::CliError;

/// What the web server in the container answers.
pub(crate) const PAGE: &str = "Hello from a container that Sheave pulled, unpacked, connected and ran.\n";

const BUSYBOX: &str = "/bin/busybox";

fn layer() -> Result<Vec<u8>, CliError> {
    let binary =
        std::fs::read(BUSYBOX).map_err(|e| failed(format!("{BUSYBOX}: {e}; install the package busybox-static")))?;
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    for dir in ["bin/", "etc/", "tmp/", "www/"] {
        tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), dir, std::io::empty())?;
    }
    tar.append_data(
        &mut header(tar::EntryType::Regular, 0o755, binary.len() as u64),
        "bin/busybox",
        binary.as_slice(),
    )?;
    for applet in ["sh", "httpd", "ps", "ls", "cat", "echo"] {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), format!("bin/{applet}"), "busybox")?;
    }
    for (path, text) in
        [("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"), ("etc/group", "root:x:0:\n"), ("www/index.html", PAGE)]
    {
        tar.append_data(&mut header(tar::EntryType::Regular, 0o644, text.len() as u64), path, text.as_bytes())?;
    }
    Ok(tar.into_inner()?)
}

fn store(layout: &Path, bytes: &[u8]) -> Result<Digest, CliError> {
    let digest = Digest::of(bytes);
    std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes)?;
    Ok(digest)
}

fn store_json(layout: &Path, value: &Value) -> Result<(Digest, usize), CliError> {
    let bytes = serde_json::to_vec(value).map_err(failed)?;
    Ok((store(layout, &bytes)?, bytes.len()))
}

/// Writes the image `hello:1` as an OCI image layout.
pub(crate) fn write_layout(layout: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(layout.join("blobs/sha256"))?;
    let tar = layer()?;
    let diff_id = Digest::of(&tar);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar)?;
    let layer = gzip.finish()?;
    let layer_digest = store(layout, &layer)?;
    let platform = Platform::host();
    let (config, config_size) = store_json(
        layout,
        &json!({
            "created": "2026-01-01T00:00:00Z",
            "os": platform.os,
            "architecture": platform.architecture,
            "config": {
                "Cmd": ["httpd", "-f", "-v", "-p", "80", "-h", "/www"],
                "Env": ["PATH=/bin"],
                "ExposedPorts": {"80/tcp": {}},
                "StopSignal": "SIGKILL",
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "busybox and a page"}],
        }),
    )?;
    let (manifest, manifest_size) = store_json(
        layout,
        &json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer_digest, "size": layer.len()}],
        }),
    )?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest,
            "size": manifest_size,
            "annotations": {"org.opencontainers.image.ref.name": "demo.local/hello:1"},
        }],
    });
    std::fs::write(layout.join("index.json"), serde_json::to_vec(&index).map_err(failed)?)?;
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}
