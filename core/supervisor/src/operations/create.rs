//! `POST /containers/create`: nothing runs yet, but everything that a start needs is claimed.

use std::collections::BTreeMap;
use std::path::Path;

use sheave_api::containers::{
    ContainerConfig, ContainerCreateQuery, ContainerCreateRequest, ContainerCreateResponse, EndpointSettings,
    HostConfig, MountPoint, NetworkSettings, PortMap,
};
use sheave_metadata::ContainerRow;
use sheave_types::Id;

use super::control::event;
use crate::driver::{self, Context};
use crate::error::{Error, Fault};
use crate::names;
use crate::parts::Parts;
use crate::record::{Live, Mounted, Record, View};
use crate::spec::modes::NetworkMode;
use crate::spec::parse::{MountRequest, requested_mounts, volumes_from};
use crate::spec::{apply_defaults, merge, validate};
use crate::state::State;
use crate::time::Timestamp;

/// Names that are tried before giving up.
const ATTEMPTS: u32 = 100;

/// Makes a container.
pub async fn create(
    parts: &Parts,
    context: &Context,
    query: ContainerCreateQuery,
    request: ContainerCreateRequest,
) -> Result<ContainerCreateResponse, Error> {
    let name = query.name.as_deref().filter(|name| !name.is_empty()).map(names::check).transpose()?;
    let image = parts.neighbours.images.find(&request.config.image, query.platform.as_deref())?;
    let mut config = merge(&request, &image.config)?.config;
    let mut host_config = request.host_config;
    let id = Id::random();
    apply_defaults(&id, &mut config, &mut host_config, &parts.host, &host_name());
    resolve_peers(context, &mut config, &mut host_config)?;
    let warnings = validate(&config, &mut host_config, &parts.host)?;
    let requests = requests(context, &config, &host_config)?;
    let endpoints = endpoints(&host_config, request.networking_config.endpoints_config)?;
    let command = crate::spec::MergedConfig { config: config.clone() }.command();
    let (path, args) = command.split_first().map(|(path, args)| (path.clone(), args.to_vec())).unwrap_or_default();
    let mut record = Record {
        created: Timestamp::now(),
        image: image.id,
        manifest: image.manifest,
        platform: image.platform,
        path,
        args,
        config,
        host_config,
        endpoints,
        driver: parts.neighbours.snapshots.default_driver().to_owned(),
        mounts: Vec::new(),
    };
    let name = reserve(context, name, id)?;
    let made = async {
        prepare(parts, &id, &record).await?;
        record.mounts = claim(parts, &id, &record, requests).await?;
        store(parts, context, id, &name, record.clone())
    };
    match made.await {
        Ok(()) => Ok(ContainerCreateResponse { id: id.to_string(), warnings }),
        Err(error) => {
            undo(parts, &id, &record).await;
            context.store.release(&name, id);
            Err(error)
        }
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Containers that this one joins are kept by id: their names may change. One in whose network it is gives it its host name.
fn resolve_peers(context: &Context, config: &mut ContainerConfig, host_config: &mut HostConfig) -> Result<(), Error> {
    if let Some(name) = host_config.network_mode.strip_prefix("container:").filter(|name| !name.is_empty()) {
        let peer = context.store.find(name)?.now();
        config.hostname.clone_from(&peer.record.config.hostname);
        config.domainname.clone_from(&peer.record.config.domainname);
    }
    for mode in [&mut host_config.network_mode, &mut host_config.pid_mode, &mut host_config.ipc_mode] {
        if let Some(name) = mode.strip_prefix("container:").filter(|name| !name.is_empty()) {
            *mode = format!("container:{}", context.store.find(name)?.id);
        }
    }
    Ok(())
}

/// The networks it joins: those named in the request, or the one of its mode.
fn endpoints(
    host_config: &HostConfig,
    asked: BTreeMap<String, Option<EndpointSettings>>,
) -> Result<BTreeMap<String, EndpointSettings>, Error> {
    let mut endpoints: BTreeMap<_, _> = asked
        .into_iter()
        .map(|(name, wishes)| (if name == "default" { "bridge".to_owned() } else { name }, wishes.unwrap_or_default()))
        .collect();
    let own = match NetworkMode::read(&host_config.network_mode)? {
        NetworkMode::Network(name) => name,
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(_) => return Ok(BTreeMap::new()),
    };
    endpoints.entry(own).or_default();
    Ok(endpoints)
}

fn reserve(context: &Context, wanted: Option<&str>, id: Id) -> Result<String, Error> {
    if let Some(name) = wanted {
        context.store.reserve(name, id)?;
        return Ok(name.to_owned());
    }
    let random = u64::from_str_radix(&Id::random().to_string()[..16], 16).unwrap_or(0);
    for attempt in 0..ATTEMPTS {
        let name = names::suggest(random.rotate_left(attempt), attempt);
        if context.store.reserve(&name, id).is_ok() {
            return Ok(name);
        }
    }
    let name = id.short();
    context.store.reserve(&name, id)?;
    Ok(name)
}

/// Its writable layer.
async fn prepare(parts: &Parts, id: &Id, record: &Record) -> Result<(), Error> {
    let parent = parts.neighbours.images.unpack(&record.image, &record.driver).await?;
    let labels: Vec<_> =
        record.host_config.storage_opt.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let snapshots = &parts.neighbours.snapshots;
    Ok(snapshots.prepare(&record.driver, &id.to_string(), parent.as_deref(), &labels).await?)
}

/// What it mounts: its own wishes, and what it takes from other containers unless its own cover it.
fn requests(context: &Context, config: &ContainerConfig, host_config: &HostConfig) -> Result<Vec<Wanted>, Error> {
    let own = requested_mounts(config, host_config)?;
    let mut wanted: Vec<Wanted> = Vec::new();
    for text in host_config.volumes_from.iter().flatten() {
        let from = volumes_from(text)?;
        for mounted in &context.store.find(&from.container)?.now().record.mounts {
            let mut taken = mounted.clone();
            taken.point.rw &= from.rw;
            taken.anonymous = false;
            let covered = own.iter().any(|request| request.destination == taken.point.destination);
            wanted.retain(|earlier| earlier.destination() != taken.point.destination);
            if !covered {
                wanted.push(Wanted::Taken(taken));
            }
        }
    }
    wanted.extend(own.into_iter().map(Wanted::Own));
    wanted.sort_by(|a, b| a.destination().cmp(b.destination()));
    Ok(wanted)
}

/// A mount that a container asks for.
enum Wanted {
    Own(MountRequest),
    Taken(Mounted),
}

impl Wanted {
    fn destination(&self) -> &str {
        match self {
            Wanted::Own(request) => &request.destination,
            Wanted::Taken(mounted) => &mounted.point.destination,
        }
    }
}

/// Claims volumes, fills new ones from the image, and makes the list of mounts.
async fn claim(parts: &Parts, id: &Id, record: &Record, wanted: Vec<Wanted>) -> Result<Vec<Mounted>, Error> {
    let mut mounts = Vec::with_capacity(wanted.len());
    for each in wanted {
        let mounted = match each {
            Wanted::Taken(mounted) => {
                if mounted.point.kind == "volume" {
                    let options = mounted.spec.volume_options.clone().unwrap_or_default();
                    parts.neighbours.volumes.claim(&mounted.point.name, &options, id).await?;
                }
                mounted
            }
            Wanted::Own(request) => own(parts, id, record, request).await?,
        };
        mounts.push(mounted);
    }
    Ok(mounts)
}

async fn own(parts: &Parts, id: &Id, record: &Record, request: MountRequest) -> Result<Mounted, Error> {
    let mut point = MountPoint {
        kind: request.spec.kind.clone(),
        source: request.spec.source.clone(),
        destination: request.destination.clone(),
        mode: request.mode.clone(),
        rw: request.rw,
        ..MountPoint::default()
    };
    let mut anonymous = false;
    match request.spec.kind.as_str() {
        "volume" => {
            let options = request.spec.volume_options.clone().unwrap_or_default();
            if !options.subpath.is_empty() {
                return Err(Error::Unsupported("VolumeOptions.Subpath"));
            }
            let claimed = parts.neighbours.volumes.claim(&request.spec.source, &options, id).await?;
            (point.name, point.driver, point.source) = (claimed.name, claimed.driver, claimed.mountpoint);
            if point.mode.is_empty() {
                point.mode = "z".to_owned();
            }
            anonymous = request.is_anonymous_volume();
            if request.copy_up {
                copy_up(parts, id, record, &point).await?;
            }
        }
        "bind" => {
            point.propagation = request.propagation.to_string();
            bind_exists(&request)?;
        }
        "image" => return Err(Error::Unsupported("Mount.Type image")),
        _ => {}
    }
    Ok(Mounted { point, spec: request.spec.clone(), create_source: request.create_source, anonymous })
}

/// A bind in its long form needs its source; in the short form the directory is made.
fn bind_exists(request: &MountRequest) -> Result<(), Error> {
    let source = Path::new(&request.spec.source);
    if source.exists() {
        return Ok(());
    }
    if !request.create_source {
        return Err(Fault::BindSource(request.spec.source.clone()).into());
    }
    std::fs::create_dir_all(source).map_err(Error::file(format!("make {}", source.display())))
}

/// An empty volume gets what the image has at its place.
async fn copy_up(parts: &Parts, id: &Id, record: &Record, point: &MountPoint) -> Result<(), Error> {
    let (volumes, snapshots) = (&parts.neighbours.volumes, &parts.neighbours.snapshots);
    let volume = volumes.mount(&point.name, id).await?;
    let filled = async {
        let root = snapshots.mount_private(&record.driver, &id.to_string(), true).await?;
        let copied = volumes.copy_up(&volume, root.path(), Path::new(&point.destination)).await;
        // Unmounting may wait for the disk.
        tokio::task::spawn_blocking(move || drop(root)).await.map_err(|error| Error::Shim(error.to_string()))?;
        Ok::<_, Error>(copied?)
    };
    let result = filled.await;
    volumes.unmount(&point.name, id).await?;
    result
}

fn store(parts: &Parts, context: &Context, id: Id, name: &str, record: Record) -> Result<(), Error> {
    let paths = parts.settings.paths(&id);
    std::fs::create_dir_all(&paths.bundle).map_err(Error::file(format!("make {}", paths.bundle.display())))?;
    let live = Live { state: State::default(), network: at_rest(&record) };
    let row = ContainerRow { id: id.to_string(), name: name.to_owned(), doc: &record, state: &live };
    context.database.containers().insert(&row)?;
    let view = View::new(id, name.to_owned(), record, live);
    let handle = driver::start(context, view, None);
    event(context, &handle.now(), "create", &[]);
    Ok(())
}

/// The networks of a container that does not run: what it asks for, without addresses.
pub fn at_rest(record: &Record) -> NetworkSettings {
    NetworkSettings { networks: record.endpoints.clone(), ports: PortMap::new(), ..NetworkSettings::default() }
}

/// Gives back what a failed creation had claimed.
async fn undo(parts: &Parts, id: &Id, record: &Record) {
    if let Err(error) = crate::resources::remove(parts, id, record, true).await {
        tracing::warn!(container = %id, %error, "undoing a creation");
    }
}
