/** Docker's size of /dev/shm for a container that names none */
export const DEFAULT_SHM_BYTES = 64 * 1024 * 1024;

/** Files and directories of the kernel that Docker hides from a container that is not privileged. */
export const maskedPaths: readonly string[] = [
  "/proc/asound",
  "/proc/acpi",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
];

/** The same, shown but not to be written. */
export const readonlyPaths: readonly string[] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
