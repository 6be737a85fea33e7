# Runs in the guest of cgroup2.rs, which knows what each line has to say: `name: value`.
groups=/sys/fs/cgroup
say() { name=$1; shift; echo "$name: $(echo $*)"; }
s() { sheave --host unix:///run/sheave.sock "$@"; }
run() { s run --pull never "$@"; }
# The cgroup directory of the container with this id, wherever the engine put it.
group() { find $groups -type d -name "*$1*" | head -1; }
# Fields of a container's state, in the order of the answer. The program starts slowly on an emulated processor: asked for once.
state() { s inspect "$1" | sed -nE 's/^ *"(Status|OOMKilled|ExitCode)": (.*[^,]),?$/\2/p' | head -3; }

printf '[plugins.registry-layout.config]\nhosts = { "guest.local" = "/layout" }\n' >/run/sheave.toml
sheaved --config-file /run/sheave.toml --data-root /var/lib/sheave --exec-root /run/sheave --pidfile /run/sheaved.pid \
  --host unix:///run/sheave.sock >/run/sheaved.log 2>&1 &
engine=$!
for _ in $(seq 200); do [ -S /run/sheave.sock ] && break; sleep 0.1; done
trap 'sed "s/^/log: /" /run/sheaved.log' EXIT
s pull guest.local/image:busybox >/run/pull.log 2>&1 || { cat /run/pull.log; exit 1; }
image=guest.local/image:busybox

say info "$(s info 2>&1 | grep '^Cgroups')"
say echo "$(run --rm $image echo from the guest 2>&1)"
say own-group "$(run --rm $image cat /proc/self/cgroup 2>&1)"
say own-root "$(run --rm $image sh -c 'cat /sys/fs/cgroup/cgroup.controllers | wc -w; ls -d /sys/fs/cgroup/init 2>&1; mkdir /sys/fs/cgroup/x 2>&1' 2>&1)"

id=$(run -d --name limits --memory 67108864 --memory-swap 134217728 --pids-limit 42 --cpus 0.5 --cpu-shares 2048 --cpuset-cpus 1 $image sleep 1000)
dir=$(group "$id")
say is-below-root "$([ -n "$dir" ] && [ "$dir" != $groups ] && echo yes)"
for file in memory.max memory.swap.max pids.max cpu.max cpu.weight cpuset.cpus; do say $file "$(cat $dir/$file)"; done
say seen-inside "$(s exec limits cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max 2>&1)"
say processes "$(wc -l <$dir/cgroup.procs)"
s exec limits sleep 777 & 
for _ in $(seq 50); do [ "$(wc -l <$dir/cgroup.procs)" = 2 ] && break; sleep 0.1; done
say with-exec "$(wc -l <$dir/cgroup.procs)"
say exec-group "$(s exec limits cat /proc/self/cgroup 2>&1)"

s pause limits >/dev/null
say paused "$(state limits) $(cat $dir/cgroup.freeze) $(grep frozen $dir/cgroup.events)"
s unpause limits >/dev/null
say unpaused "$(state limits) $(cat $dir/cgroup.freeze) $(grep frozen $dir/cgroup.events)"
s kill limits >/dev/null
say kill-code "$(s wait limits)"
say killed "$(state limits)"
s rm limits >/dev/null
say removed "$(ls -d $dir 2>/dev/null | wc -l)"

run --name forks --pids-limit 5 $image sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait' >/run/forks 2>&1
say fork-refused "$(grep -c "can't fork" /run/forks)"

run --name hungry --memory 33554432 --memory-swap 33554432 $image sh -c 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done' >/dev/null 2>&1
say oom-code "$?"
say oom-state "$(state hungry)"

devices='mknod /tmp/d b 7 0 && echo made; head -c 1 /tmp/d 2>&1; head -c 3 /dev/zero | wc -c; echo x >/dev/null && echo null'
say devices "$(run --rm $image sh -c "$devices" 2>&1)"
say kmsg "$(run --rm $image sh -c 'mknod /tmp/k c 1 11; head -c 1 /tmp/k' 2>&1)"
dd if=/dev/zero of=/run/disk bs=1024 count=64 2>/dev/null
loop=$(losetup -f); losetup $loop /run/disk
say given-device "$(run --rm --device $loop $image sh -c "head -c 5 $loop | wc -c" 2>&1)"
say read-only-device "$(run --rm --device $loop:/dev/disk:r $image sh -c 'head -c 5 /dev/disk | wc -c; echo x >/dev/disk' 2>&1)"
say privileged "$(run --rm --privileged $image sh -c 'mknod /tmp/k c 1 11 && dd if=/tmp/k bs=1 count=0 2>/dev/null && echo opened' 2>&1)"
losetup -d $loop

# Without its shim nobody but the engine can end the container's processes and remove their cgroup.
id=$(run -d --name orphan $image sleep 1000)
dir=$(group "$id")
say orphan "$(wc -l <$dir/cgroup.procs)"
kill -9 $(pidof sheave-shim)
s rm -f orphan hungry forks >/dev/null
say forced "$(ls -d $dir 2>/dev/null | wc -l)"
say left "$(find $groups -type d | grep -cE '[0-9a-f]{64}')"
kill $engine; wait $engine
say stopped "$?"
trap - EXIT
