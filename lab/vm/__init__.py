"""A Debian 13 machine with its stock kernel, emulated: ``python3 -m lab.vm COMMAND``.

Many kernels cannot degrade a network (they lack ``sch_netem``), and a machine that has been worked
on cannot show what a fresh one does. This one boots from a disk that is built once from the
distribution's own packages, runs one command in a copy of the project and is thrown away.

Modules: ``host`` has the tools installed, ``disk`` builds and caches, ``freight`` packs what is
carried in, ``machine`` boots, streams and stops. ``guest/all/`` and the folder of a disk's flavour
beside it are copied over the machine's root file system; ``make-disk.sh`` does that.

Left out: other architectures than x86-64, a display, several machines on one network.
"""
