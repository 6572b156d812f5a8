#!/bin/sh
# First process of a node: what an init would have done, then sshd.
set -eu

# A killed node leaves these behind, and a live engine would be seen where there is none.
rm -rf /run/docker.pid /run/docker.sock /run/docker /run/containerd /run/sshd.pid
mkdir -p /run/sshd

# Every node is a machine of its own; ids baked into the image would make clones of them.
[ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
ssh-keygen -A >/dev/null

if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    # cgroup v2, in a namespace of our own: controllers can be handed down only by a group without processes.
    mount -o remount,rw /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/init
    while read -r pid; do
        echo "$pid" >/sys/fs/cgroup/init/cgroup.procs || echo "process $pid stays in the root group" >&2
    done <<PIDS
$(cat /sys/fs/cgroup/cgroup.procs)
PIDS
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || echo "no controller $controller" >&2
    done
fi

# overlay2 by name: without it a failed mount would fall back to vfs, which copies every layer.
dockerd --storage-driver=overlay2 >/var/log/dockerd.log 2>&1 &

address=$(ip -4 -o addr show dev eth0 | awk '{ split($4, part, "/"); print part[1]; exit }')
exec /usr/sbin/sshd -D -e -o "ListenAddress=$address"
