/* udpflood: how many small datagrams per second arrive.
 *   udpflood recv PORT SECONDS        counts what arrives on PORT, prints packets per second
 *   udpflood send ADDR PORT SECONDS   sends 64-byte datagrams as fast as it can, bounded in time
 * Only for the benchmark's own namespaces. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#define BATCH 64
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
int main(int argc, char **argv) {
  static char buffers[BATCH][2048];
  struct mmsghdr messages[BATCH];
  struct iovec vectors[BATCH];
  struct sockaddr_in address = {0};
  int receive, fd, i, n;
  double seconds, start, first = 0, last = 0;
  long count = 0;
  if (argc < 4) return 2;
  receive = !strcmp(argv[1], "recv");
  seconds = atof(receive ? argv[3] : argv[4]);
  if (seconds > 20) seconds = 20;
  fd = socket(AF_INET, SOCK_DGRAM, 0);
  address.sin_family = AF_INET;
  address.sin_port = htons(atoi(receive ? argv[2] : argv[3]));
  if (receive) {
    struct timeval timeout = {0, 200000};
    int size = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (void *)&address, sizeof address)) { perror("bind"); return 1; }
  } else {
    inet_pton(AF_INET, argv[2], &address.sin_addr);
    if (connect(fd, (void *)&address, sizeof address)) { perror("connect"); return 1; }
  }
  memset(messages, 0, sizeof messages);
  for (i = 0; i < BATCH; i++) {
    vectors[i].iov_base = buffers[i];
    vectors[i].iov_len = receive ? sizeof buffers[i] : 64;
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  for (start = now(); now() - start < seconds;) {
    if (receive) {
      n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
      if (n > 0) { last = now(); if (!first) first = last; count += n; }
    } else {
      n = sendmmsg(fd, messages, BATCH, 0);
      if (n > 0) count += n;
    }
  }
  if (receive) printf("%.0f\n", count && last > first ? count / (last - first) : 0);
  return 0;
}
