/*
 * Who reaches whom: enters many network namespaces in one process, pings and asks for names from each of them.
 *   stdin   ns N PATH | ping N ADDRESS 0|1 | ask N NAME          (N: a small number; 0|1: is an answer expected? Only to know when to stop waiting)
 *   stdout  ping N ADDRESS yes|no | ask N NAME ADDRESS,ADDRESS|none|silent
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* All namespaces of the machine share one neighbour table of 1,024 entries (gc_thresh3): so many tests at once, then they are forgotten. */
enum { MAX_NS = 2048, ROUNDS = 4, BATCH = 250 };
struct space { int four, six, dns; };
struct test { int ns, ask, expected, done, number; char target[128], answer[256]; struct in6_addr address; int v6; };
static struct space spaces[MAX_NS];
static struct test *tests;
static int count, room;
/* tests of each namespace, by number */
static int *of[MAX_NS], ofCount[MAX_NS];

static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000 + t.tv_nsec / 1000000; }

static void enter(int n, const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (n < 0 || n >= MAX_NS || fd < 0 || setns(fd, CLONE_NEWNET) < 0) { perror(path); exit(1); }
  close(fd);
  int big = 4 << 20;
  struct space *s = &spaces[n];
  s->four = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP);
  if (s->four < 0) {
    /* a namespace that stands for a machine: nobody may ping without privileges there yet */
    int range = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY);
    if (write(range, "0 2147483647", 12) < 0) perror("ping_group_range");
    close(range);
    s->four = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP);
  }
  s->six = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMPV6);
  s->dns = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f00000b)};
  connect(s->dns, (struct sockaddr *)&server, sizeof server);
  for (int i = 0; i < 3; i++) setsockopt((int[]){s->four, s->six, s->dns}[i], SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
}

static void add(int n, int ask, const char *target, int expected) {
  if (count == room) tests = realloc(tests, (room = room ? room * 2 : 1024) * sizeof *tests);
  struct test *t = &tests[count];
  memset(t, 0, sizeof *t);
  t->ns = n, t->ask = ask, t->expected = expected;
  memcpy(t->target, target, strnlen(target, sizeof t->target - 1));
  t->v6 = strchr(target, ':') != NULL;
  if (!ask) inet_pton(t->v6 ? AF_INET6 : AF_INET, target, &t->address);
  of[n] = realloc(of[n], (ofCount[n] + 1) * sizeof(int));
  t->number = ofCount[n];
  of[n][ofCount[n]++] = count++;
}

static void sendOne(const struct test *t) {
  const struct space *s = &spaces[t->ns];
  unsigned char p[512] = {0};
  if (t->ask) {
    p[0] = t->number >> 8, p[1] = t->number, p[2] = 1, p[5] = 1;
    int at = 12;
    for (const char *from = t->target; *from;) {
      int n = strcspn(from, ".");
      p[at++] = n;
      memcpy(p + at, from, n), at += n, from += n + (from[n] == '.');
    }
    p[at + 2] = 1, p[at + 4] = 1;
    send(s->dns, p, at + 5, 0);
  } else if (t->v6) {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = t->address};
    p[0] = ICMP6_ECHO_REQUEST, p[6] = t->number >> 8, p[7] = t->number;
    sendto(s->six, p, 16, 0, (struct sockaddr *)&to, sizeof to);
  } else {
    struct sockaddr_in to = {.sin_family = AF_INET};
    memcpy(&to.sin_addr, &t->address, 4);
    p[0] = ICMP_ECHO, p[6] = t->number >> 8, p[7] = t->number;
    sendto(s->four, p, 16, 0, (struct sockaddr *)&to, sizeof to);
  }
}

static void names(struct test *t, const unsigned char *p, int n) {
  int records = p[6] << 8 | p[7], at = 12;
  t->answer[0] = 0;
  while (at < n && p[at]) at += p[at] + 1;
  at += 5;
  for (int i = 0; i < records && at + 12 <= n; i++) {
    if ((p[at] & 0xc0) == 0xc0) at += 2; else { while (at < n && p[at]) at += p[at] + 1; at++; }
    int type = p[at] << 8 | p[at + 1], length = p[at + 8] << 8 | p[at + 9];
    at += 10;
    size_t used = strlen(t->answer);
    if (type == 1 && length == 4 && used + 20 < sizeof t->answer) {
      if (used) t->answer[used++] = ',';
      inet_ntop(AF_INET, p + at, t->answer + used, 16);
    }
    at += length;
  }
  if (!t->answer[0]) strcpy(t->answer, "none");
}

static int receive(int n) {
  unsigned char p[2048];
  struct sockaddr_storage from;
  int got = 0, fds[] = {spaces[n].four, spaces[n].six, spaces[n].dns};
  for (int k = 0; k < 3; k++)
    for (;;) {
      socklen_t size = sizeof from;
      int length = recvfrom(fds[k], p, sizeof p, 0, (struct sockaddr *)&from, &size);
      if (length < 0) break;
      if (length < 8) continue;
      int number = k == 2 ? p[0] << 8 | p[1] : p[6] << 8 | p[7];
      if (number >= ofCount[n] || (k == 0 && p[0] != ICMP_ECHOREPLY) || (k == 1 && p[0] != ICMP6_ECHO_REPLY)) continue;
      struct test *t = &tests[of[n][number]];
      if (t->done || t->ask != (k == 2)) continue;
      if (k == 0 && memcmp(&((struct sockaddr_in *)&from)->sin_addr, &t->address, 4)) continue;
      t->done = 1, got++;
      if (k == 2) names(t, p, length);
    }
  return got;
}

static int missingOf(int from, int to) {
  int missing = 0;
  for (int n = from; n < to; n++)
    for (int i = 0; i < ofCount[n]; i++) missing += tests[of[n][i]].expected && !tests[of[n][i]].done;
  return missing;
}

static void batch(int from, int to) {
  for (int round = 0; round < ROUNDS; round++) {
    for (int n = from; n < to; n++) {
      for (int i = 0; i < ofCount[n]; i++)
        if (!tests[of[n][i]].done) sendOne(&tests[of[n][i]]);
      if (ofCount[n]) receive(n);
    }
    long start = now(), end = start + 250 * (round + 1);
    do {
      poll(NULL, 0, 5);
      for (int n = from; n < to; n++) if (ofCount[n]) receive(n);
    } while (now() < end && (missingOf(from, to) || now() < start + 30));
    if (!missingOf(from, to)) return;
  }
}

/* Both ends: whom one has asked for has been asked by him. */
static void forget(void) {
  for (int i = 0; i < count; i++) {
    if (tests[i].ask || tests[i].v6) continue;
    struct arpreq request = {0};
    struct sockaddr_in *address = (struct sockaddr_in *)&request.arp_pa;
    address->sin_family = AF_INET;
    memcpy(&address->sin_addr, &tests[i].address, 4);
    ioctl(spaces[tests[i].ns].four, SIOCDARP, &request);
  }
}

int main(void) {
  char line[1024], what[16], text[128];
  int n, expected;
  while (fgets(line, sizeof line, stdin)) {
    expected = 1;
    if (sscanf(line, "%15s %d %127s %d", what, &n, text, &expected) < 3) continue;
    if (!strcmp(what, "ns")) enter(n, text);
    else add(n, !strcmp(what, "ask"), text, expected);
  }
  for (int first = 0; first < MAX_NS;) {
    int last = first, sum = 0;
    while (last < MAX_NS && (sum == 0 || sum + ofCount[last] <= BATCH)) sum += ofCount[last++];
    batch(first, last);
    if (count > BATCH) forget();
    first = last;
  }
  for (int i = 0; i < count; i++) {
    const struct test *t = &tests[i];
    if (t->ask) printf("ask %d %s %s\n", t->ns, t->target, t->done ? t->answer : "silent");
    else printf("ping %d %s %s\n", t->ns, t->target, t->done ? "yes" : "no");
  }
  return 0;
}
