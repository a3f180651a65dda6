#!/bin/sh
# The first process of every guest. The kernel's command line contains the guest's name.
export PATH=/bin:/sbin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
mkdir -p /run/rpcbind /run/rpc_pipefs /dev/shm
mount -t tmpfs shm /dev/shm
for word in $(cat /proc/cmdline); do
    case $word in lab_*=*) eval "$word" ;; esac
done
hostname "$lab_name"
for module in virtio_pci virtio_rng virtio_net virtio_blk nfs nfsv3 nfsv4; do modprobe "$module"; done
until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done
ip link set lo up
ip addr add "$lab_address/24" dev eth0; ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth1; ip link set eth1 up
# The shared clock's memory can be read once its device is enabled.
for device in /sys/bus/pci/devices/*; do
    [ "$(cat "$device/device")" != 0x1110 ] || echo 1 >"$device/enable"
done
lockbydir-nfs-lab agent &
mount -t rpc_pipefs pipefs /run/rpc_pipefs
if [ "$lab_name" = server ]; then
    modprobe nfsd
    mount -t nfsd nfsd /proc/fs/nfsd
    mount -t ext4 /dev/vda /export
    # On the disk: after a boot the server needs to know which clients had mounted.
    mkdir -p /export/.state
    mount --bind /export/.state /var/lib/nfs
fi
mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/v4recovery /var/lib/nfs/nfsdcld
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/state
chown -R statd /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/state
rpcbind -w
rpc.statd --no-notify -p 4001 -o 4002
if [ "$lab_name" = server ]; then
    echo "/export 10.9.0.0/24(rw,$lab_sync,no_root_squash,no_subtree_check,fsid=0)" >/etc/exports
    nfsdcld -p /run/rpc_pipefs -s /var/lib/nfs/nfsdcld
    exportfs -r
    rpc.mountd -p 4000
    # The shortest permitted periods: a server that was restarted serves only old clients for this long.
    rpc.nfsd -G 10 -L 10 8
    sm-notify
fi
touch /run/ready
while :; do sleep 3600; done
