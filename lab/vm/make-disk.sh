#!/bin/sh
# make-disk.sh ROOT_TAR OUT_FOLDER SIZE GUEST_FILES...
#
# Turns a root file system into the emulated machine's disk: OUT_FOLDER/disk.raw, vmlinuz and
# initrd. Runs as root, or as root of a user namespace, so that files keep their owners.
set -eu
umask 022 # of the machine, not of who makes it
root_tar=$1 out=$2 size=$3
shift 3

root=$out/root
trap 'rm -rf "$root"' EXIT
trap 'exit 130' INT TERM
mkdir "$root"

# No device nodes: a user namespace may not make them, and the kernel brings its own /dev.
tar --extract --numeric-owner --exclude='./dev/*' --directory "$root" --file "$root_tar"
for guest_files in "$@"; do
    cp -R "$guest_files/." "$root/"
done

# The host's own were taken over. A machine that has an identity and is up to date does not go
# through systemd's first boot, which takes long in emulation.
echo progres-lab-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 progres-lab-vm\n' >"$root/etc/hosts"
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
echo 70726f677265732d6c61622d766d0000 >"$root/etc/machine-id"
touch "$root/etc/.updated" "$root/var/.updated"

units=$root/etc/systemd/system
mkdir -p "$units/multi-user.target.wants"
for unit in /etc/systemd/system/progres-lab.service /usr/lib/systemd/system/systemd-networkd.service; do
    ln -sf "$unit" "$units/multi-user.target.wants/"
done
# A machine that lives for minutes: no housekeeping, and ttyS0 is the only console.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer getty@tty1.service systemd-networkd-wait-online.service; do
    ln -sf /dev/null "$units/$unit"
done

cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd"
rm -rf "${root:?}"/boot/*

# No journal: the disk is never written, each run writes to a snapshot that is thrown away.
mkfs.ext4 -q -F -L root -O ^has_journal -E nodiscard -d "$root" "$out/disk.raw" "$size"
