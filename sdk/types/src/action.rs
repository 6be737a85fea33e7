//! The closed list of what can be asked of the engine.

use serde::{Deserialize, Serialize};

macro_rules! actions {
    ($($variant:ident = $name:literal: $doc:literal,)*) => {
        /// What an operation does; hooks subscribe to these names (`container.create`, `container.*`, `*`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl Action {
            /// All of them, in the order of this list.
            pub const ALL: &[Action] = &[$(Action::$variant,)*];

            /// Its name in hooks, the audit log, spans and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $name,)* }
            }
        }
    };
}

actions! {
    SystemPing = "system.ping": "`GET /_ping`",
    SystemVersion = "system.version": "`GET /version`",
    SystemInfo = "system.info": "`GET /info`",
    SystemEvents = "system.events": "`GET /events`",
    SystemDf = "system.df": "`GET /system/df`",
    SystemAuth = "system.auth": "`POST /auth`",
    ImageList = "image.list": "`GET /images/json`",
    ImagePull = "image.pull": "`POST /images/create?fromImage=`",
    ImageImport = "image.import": "`POST /images/create?fromSrc=`",
    ImageInspect = "image.inspect": "`GET /images/{name}/json`",
    ImageHistory = "image.history": "`GET /images/{name}/history`",
    ImagePush = "image.push": "`POST /images/{name}/push`",
    ImageTag = "image.tag": "`POST /images/{name}/tag`",
    ImageRemove = "image.remove": "`DELETE /images/{name}`",
    ImageSearch = "image.search": "`GET /images/search`",
    ImagePrune = "image.prune": "`POST /images/prune`",
    ImageSave = "image.save": "`GET /images/get`",
    ImageLoad = "image.load": "`POST /images/load`",
    ImageCommit = "image.commit": "`POST /commit`",
    ImageBuild = "image.build": "`POST /build`",
    ImageDistribution = "image.distribution": "`GET /distribution/{name}/json`",
    BuildPrune = "build.prune": "`POST /build/prune`",
    ContainerList = "container.list": "`GET /containers/json`",
    ContainerCreate = "container.create": "`POST /containers/create`",
    ContainerInspect = "container.inspect": "`GET /containers/{id}/json`",
    ContainerTop = "container.top": "`GET /containers/{id}/top`",
    ContainerLogs = "container.logs": "`GET /containers/{id}/logs`",
    ContainerChanges = "container.changes": "`GET /containers/{id}/changes`",
    ContainerExport = "container.export": "`GET /containers/{id}/export`",
    ContainerStats = "container.stats": "`GET /containers/{id}/stats`",
    ContainerResize = "container.resize": "`POST /containers/{id}/resize`",
    ContainerStart = "container.start": "`POST /containers/{id}/start`",
    ContainerStop = "container.stop": "`POST /containers/{id}/stop`",
    ContainerRestart = "container.restart": "`POST /containers/{id}/restart`",
    ContainerKill = "container.kill": "`POST /containers/{id}/kill`",
    ContainerUpdate = "container.update": "`POST /containers/{id}/update`",
    ContainerRename = "container.rename": "`POST /containers/{id}/rename`",
    ContainerPause = "container.pause": "`POST /containers/{id}/pause`",
    ContainerUnpause = "container.unpause": "`POST /containers/{id}/unpause`",
    ContainerAttach = "container.attach": "`POST /containers/{id}/attach`",
    ContainerWait = "container.wait": "`POST /containers/{id}/wait`",
    ContainerRemove = "container.remove": "`DELETE /containers/{id}`",
    ContainerArchiveStat = "container.archive-stat": "`HEAD /containers/{id}/archive`",
    ContainerArchiveGet = "container.archive-get": "`GET /containers/{id}/archive`",
    ContainerArchivePut = "container.archive-put": "`PUT /containers/{id}/archive`",
    ContainerPrune = "container.prune": "`POST /containers/prune`",
    ExecCreate = "exec.create": "`POST /containers/{id}/exec`",
    ExecStart = "exec.start": "`POST /exec/{id}/start`",
    ExecResize = "exec.resize": "`POST /exec/{id}/resize`",
    ExecInspect = "exec.inspect": "`GET /exec/{id}/json`",
    NetworkList = "network.list": "`GET /networks`",
    NetworkCreate = "network.create": "`POST /networks/create`",
    NetworkInspect = "network.inspect": "`GET /networks/{id}`",
    NetworkRemove = "network.remove": "`DELETE /networks/{id}`",
    NetworkConnect = "network.connect": "`POST /networks/{id}/connect`",
    NetworkDisconnect = "network.disconnect": "`POST /networks/{id}/disconnect`",
    NetworkPrune = "network.prune": "`POST /networks/prune`",
    VolumeList = "volume.list": "`GET /volumes`",
    VolumeCreate = "volume.create": "`POST /volumes/create`",
    VolumeInspect = "volume.inspect": "`GET /volumes/{name}`",
    VolumeRemove = "volume.remove": "`DELETE /volumes/{name}`",
    VolumePrune = "volume.prune": "`POST /volumes/prune`",
    PluginList = "plugin.list": "`GET /plugins`",
    PluginInspect = "plugin.inspect": "`GET /plugins/{name}/json`",
}

impl Action {
    /// Whether a subscription (`*`, `container.*` or a name) covers this action.
    pub fn matches(self, subscription: &str) -> bool {
        match subscription.strip_suffix('*') {
            Some(prefix) => self.as_str().starts_with(prefix),
            None => self.as_str() == subscription,
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions() {
        for (subscription, covers) in [
            ("*", true),
            ("container.*", true),
            ("container.create", true),
            ("container.start", false),
            ("image.*", false),
        ] {
            assert_eq!(Action::ContainerCreate.matches(subscription), covers, "{subscription}");
        }
    }
}
