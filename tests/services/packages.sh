#!/bin/bash
# Install the Debian packages named as arguments, those that are missing, when run as root;
# otherwise say what is missing.  No daemon of theirs is started.
set -eu

missing=()
for package in "$@"; do
    case $package in
        python3-venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' ;;
        ceph-common) command -v ceph ;;
        ceph-mon) command -v ceph-mon ;;
        ceph-osd) command -v ceph-osd ;;
        curl) command -v curl ;;
        debootstrap) PATH=$PATH:/usr/sbin:/sbin command -v debootstrap ;;
        e2fsprogs) PATH=$PATH:/usr/sbin:/sbin command -v mke2fs ;;
        haproxy) PATH=$PATH:/usr/sbin:/sbin command -v haproxy ;;
        mariadb-server) PATH=$PATH:/usr/sbin:/sbin command -v mariadbd && command -v mariadb ;;
        mtools) command -v mcopy ;;
        nginx-light) PATH=$PATH:/usr/sbin:/sbin command -v nginx ;;
        postgresql) ls /usr/lib/postgresql/*/bin/postgres && command -v psql ;;
        python3-psycopg2) ls /usr/lib/python3/dist-packages/psycopg2/*.so ;;
        python3-rados) ls /usr/lib/python3/dist-packages/rados.*.so ;;
        python3-rbd) ls /usr/lib/python3/dist-packages/rbd.*.so ;;
        qemu-block-extra) ls /usr/lib/*/qemu/block-curl.so ;;
        qemu-system-x86) command -v qemu-system-x86_64 ;;
        qemu-utils) command -v qemu-img ;;
        syslinux) command -v syslinux ;;
        openssl) command -v openssl ;;
        rabbitmq-server) [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] ;;
        radosgw) command -v radosgw ;;
        squid) PATH=$PATH:/usr/sbin:/sbin command -v squid ;;
        trafficserver) command -v traffic_server ;;
        varnish) PATH=$PATH:/usr/sbin:/sbin command -v varnishd ;;
        wrk) command -v wrk ;;
        systemd) command -v systemd-analyze && ls /lib/systemd/systemd ;;
        xfsprogs) PATH=$PATH:/usr/sbin:/sbin command -v mkfs.xfs ;;
    esac >/dev/null 2>&1 || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing here: ${missing[*]} (Debian's names). Install them and try again, for example:" >&2
    echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

guard=/usr/sbin/policy-rc.d
if [ ! -e $guard ]; then
    trap 'rm -f $guard' EXIT
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod +x $guard
fi
echo "Installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null
