#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dracut module: ignition-lite in the initrd. Installed as 31ignition-lite beside its units; add it with
# add_dracutmodules+=" ignition-lite " (never by itself: a host's first boot is asked for).

check() {
    require_binaries ignition-lite systemctl mount || return 1
    return 255
}

depends() {
    echo systemd
}

installkernel() {
    local fs

    # what storage.filesystems may make
    for fs in ext4 xfs btrfs vfat; do
        ! find_binary "mkfs.$fs" >/dev/null 2>&1 || hostonly='' instmods "$fs"
    done
    hostonly='' instmods nls_cp437 nls_ascii nls_iso8859-1
    # where a config may lie: QEMU's fw_cfg, Azure's CD-ROM
    hostonly='' instmods qemu_fw_cfg udf isofs sr_mod cdrom
    # the network cards of virtual machines; for others add dracut's kernel-network-modules
    hostonly='' instmods virtio_net vmxnet3 hv_netvsc xen-netfront ena gve mana e1000 e1000e igb \
        igbvf ixgbevf
}

install() {
    local unit

    inst_multiple ignition-lite systemctl mount blkid wipefs modprobe
    # what a config may ask for; one that asks for what is not there is refused by name
    inst_multiple -o useradd usermod userdel groupadd groupdel \
        mkfs.ext4 mkfs.xfs mkfs.btrfs mkfs.vfat
    # the network, when a config needs it
    inst_multiple -o /usr/lib/systemd/systemd-networkd /usr/lib/systemd/systemd-networkd-wait-online \
        /usr/lib/systemd/systemd-network-generator \
        "$systemdsystemunitdir/systemd-networkd.service" "$systemdsystemunitdir/systemd-networkd.socket" \
        "$systemdsystemunitdir/systemd-network-generator.service"
    mkdir -p "$initdir/etc"
    for unit in passwd group; do
        grep -s -h '^systemd-\(network\|resolve\):' "$dracutsysrootdir/etc/$unit" >>"$initdir/etc/$unit"
    done
    inst_multiple -o sed /usr/lib/systemd/systemd-resolved "$systemdsystemunitdir/systemd-resolved.service"
    inst_simple "$moddir/80-ignition-lite.network" /usr/lib/systemd/network/80-ignition-lite.network
    # certificates that https trusts
    inst_multiple -o /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt
    # the image's own configs
    [ ! -d /usr/lib/ignition ] || inst_dir /usr/lib/ignition
    for unit in /usr/lib/ignition/user.ign /usr/lib/ignition/base.d/*.ign \
        /usr/lib/ignition/base.platform.d/*/*.ign; do
        [ ! -e "$unit" ] || inst_simple "$unit"
    done

    for unit in ignition-lite.service ignition-lite-network.service; do
        inst_simple "$moddir/$unit" "$systemdsystemunitdir/$unit"
    done
    for unit in initrd.target initrd-cleanup.service; do
        mkdir -p "$initdir/$systemdsystemunitdir/$unit.requires"
        ln_r "$systemdsystemunitdir/ignition-lite.service" \
            "$systemdsystemunitdir/$unit.requires/ignition-lite.service"
    done
    inst_simple "$systemdsystemunitdir/modprobe@.service"
}
