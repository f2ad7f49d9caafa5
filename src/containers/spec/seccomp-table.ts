/**
 * Which system calls a container may make when nothing else is asked: what Docker's documentation of its default profile lets
 * through (docs.docker.com, "Seccomp security profiles for Docker"), without io_uring, as Docker 25 and newer.
 * Grouped by what they are for; the names are the kernel's.
 */
const words = (text: string): readonly string[] => text.trim().split(/\s+/);

const files = words(`
  access faccessat faccessat2 chdir fchdir chmod fchmod fchmodat chown chown32 fchown fchown32 fchownat lchown lchown32
  close close_range creat open openat openat2 dup dup2 dup3 fcntl fcntl64 flock getcwd getdents getdents64 ioctl link linkat
  lseek _llseek mkdir mkdirat mknod mknodat rmdir readlink readlinkat rename renameat renameat2 symlink symlinkat unlink unlinkat
  stat stat64 fstat fstat64 fstatat64 newfstatat lstat lstat64 statx statfs statfs64 fstatfs fstatfs64 truncate truncate64
  ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 umask utime utimes utimensat utimensat_time64 futimesat
  getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr
  name_to_handle_at sync syncfs fsync fdatasync sync_file_range inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
  fanotify_mark landlock_create_ruleset landlock_add_rule landlock_restrict_self`);

const transfer = words(`
  read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 readahead copy_file_range sendfile sendfile64 splice tee
  vmsplice pipe pipe2 io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64`);

const waiting = words(`
  poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait
  epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64
  timerfd_settime timerfd_settime64 pause nanosleep clock_nanosleep clock_nanosleep_time64`);

const memory = words(`
  brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall membarrier memfd_create
  memfd_secret remap_file_pages pkey_alloc pkey_free pkey_mprotect process_mrelease`);

const processes = words(`
  execve execveat exit exit_group fork vfork wait4 waitid waitpid kill tkill tgkill pidfd_open pidfd_send_signal getpid getppid
  gettid getpgid setpgid getpgrp getsid setsid getpriority setpriority ioprio_get ioprio_set prctl seccomp set_tid_address
  set_thread_area get_thread_area set_robust_list get_robust_list rseq restart_syscall futex futex_time64 futex_waitv
  getrlimit ugetrlimit setrlimit prlimit64 getrusage times getcpu sched_yield sched_getaffinity sched_setaffinity sched_getattr
  sched_setattr sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
  sched_rr_get_interval sched_rr_get_interval_time64 process_vm_readv process_vm_writev ptrace`);

const identity = words(`
  getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32 getgroups
  getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32
  setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset`);

const signals = words(`
  rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
  rt_sigtimedwait_time64 sigaltstack sigprocmask sigreturn alarm getitimer setitimer`);

const clocks = words(`
  time gettimeofday adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
  timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64`);

const sockets = words(`
  socketpair socketcall bind connect listen accept accept4 shutdown getsockname getpeername getsockopt setsockopt send sendto sendmsg
  sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64`);

const ipc = words(`
  ipc msgget msgctl msgsnd msgrcv semget semctl semop semtimedop semtimedop_time64 shmget shmat shmdt shmctl mq_open mq_unlink
  mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64`);

const system = words("uname sysinfo getrandom");

export const allowed: readonly string[] = [
  ...files,
  ...transfer,
  ...waiting,
  ...memory,
  ...processes,
  ...identity,
  ...signals,
  ...clocks,
  ...sockets,
  ...ipc,
  ...system,
];

/** Let through besides, for a container that has the capability. */
export const allowedWith: Readonly<Record<string, readonly string[]>> = {
  CAP_BPF: ["bpf"],
  CAP_DAC_READ_SEARCH: ["open_by_handle_at"],
  CAP_PERFMON: ["perf_event_open"],
  CAP_SYSLOG: ["syslog"],
  CAP_SYS_ADMIN: words(`
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree
    perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`),
  CAP_SYS_BOOT: ["reboot"],
  CAP_SYS_CHROOT: ["chroot"],
  CAP_SYS_MODULE: ["delete_module", "init_module", "finit_module"],
  CAP_SYS_NICE: ["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"],
  CAP_SYS_PACCT: ["acct"],
  CAP_SYS_PTRACE: ["kcmp", "pidfd_getfd", "process_madvise"],
  CAP_SYS_RAWIO: ["iopl", "ioperm"],
  CAP_SYS_TIME: ["settimeofday", "stime", "clock_settime", "clock_settime64"],
  CAP_SYS_TTY_CONFIG: ["vhangup"],
};

/** Let through on this kind of processor only. */
export const allowedOn: Readonly<Record<string, readonly string[]>> = {
  x64: ["arch_prctl", "modify_ldt"],
  arm64: ["arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"],
};

/** personality(2): PER_LINUX, PER_LINUX32, UNAME26 with either, and "tell me". */
export const personalities: readonly number[] = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

/** clone(2) flags that make namespaces (NEWNS … NEWNET, NEWCGROUP, NEWUSER, NEWPID, NEWIPC, NEWUTS). */
export const namespaceFlags = 0x7e020000;

export const AF_VSOCK = 40;
export const ENOSYS = 38;
