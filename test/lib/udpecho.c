/* udpecho PORT: sends every datagram back behind the words "peer=IP:PORT ". Linked statically, so that it runs in an image of busybox alone. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  static char in[1500], out[1600];
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 7)};
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0) return perror("bind"), 1;
  for (;;) {
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(fd, in, sizeof in, 0, (struct sockaddr *)&from, &length);
    if (got < 0) return perror("recvfrom"), 1;
    int written = snprintf(out, sizeof out, "peer=%s:%d %.*s", inet_ntoa(from.sin_addr), ntohs(from.sin_port), (int)got, in);
    sendto(fd, out, written, 0, (struct sockaddr *)&from, length);
  }
}
