/* The least a client must do: READs by handles that are known, a fixed number of them in flight, over one connection.
 *
 *   blast PORT WINDOW < LIST
 *
 * LIST has a line for each file: the handle in hexadecimal digits, and the size. Files are read in pieces of 1 MiB (RFC 1813
 * section 3.3.6). What comes is counted and thrown away. Prints a line of JSON. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { PIECE = 1 << 20, BUFFER = 4 << 20, HANDLE = 64, CALL = 192 };

struct file {
  uint64_t size;
  uint32_t length;
  unsigned char handle[HANDLE];
};

static struct file *all;
static size_t count, next, window, waiting;
static uint64_t offset, bytes, pieces;
static unsigned char out[1 << 20];
static int fd;

static unsigned char *put(unsigned char *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
  return at + 4;
}

static uint32_t get(const unsigned char *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return ntohl(value);
}

static void fail(const char *why) {
  fprintf(stderr, "blast: %s\n", why);
  exit(1);
}

static void load(void) {
  static char line[4 * HANDLE];
  size_t room = 0;
  while (fgets(line, sizeof line, stdin)) {
    char *space = strchr(line, ' ');
    size_t digits = space ? (size_t)(space - line) : 0;
    if (!digits || digits % 2 || digits > 2 * HANDLE) fail("not a line of a handle and a size");
    if (count == room && !(all = realloc(all, (room = room ? 2 * room : 1024) * sizeof *all))) fail("no memory");
    struct file *one = &all[count++];
    one->length = (uint32_t)(digits / 2);
    one->size = strtoull(space + 1, NULL, 10);
    for (size_t byte = 0; byte < digits / 2; byte++) {
      char pair[3] = {line[2 * byte], line[2 * byte + 1], 0};
      one->handle[byte] = (unsigned char)strtoul(pair, NULL, 16);
    }
  }
}

static void call_read(unsigned char **at, const struct file *file, uint32_t wanted) {
  static uint32_t xid;
  unsigned char *begin = *at, *here = begin + 4;
  here = put(put(put(put(put(put(here, ++xid), 0), 2), 100003), 3), 6);
  here = put(put(here, 1), 20);                             /* AUTH_SYS: stamp, no name, root, no more groups */
  here = put(put(put(put(put(here, 0), 0), 0), 0), 0);
  here = put(put(here, 0), 0);
  here = put(here, file->length);
  memset(here, 0, (file->length + 3) & ~3U);
  memcpy(here, file->handle, file->length);
  here += (file->length + 3) & ~3U;
  here = put(put(put(here, (uint32_t)(offset >> 32)), (uint32_t)offset), wanted);
  put(begin, 0x80000000U | (uint32_t)(here - begin - 4));
  *at = here;
}

/* Sends as many calls as the window has room for. */
static void ask(void) {
  unsigned char *at = out;
  while (waiting < window && next < count && at < out + sizeof out - CALL) {
    const struct file *file = &all[next];
    uint64_t left = file->size - offset;
    uint32_t wanted = left < PIECE ? (uint32_t)left : PIECE;
    if (wanted) {
      call_read(&at, file, wanted);
      offset += wanted;
      waiting++;
    }
    if (offset >= file->size) {
      next++;
      offset = 0;
    }
  }
  for (unsigned char *from = out; from < at;) {
    ssize_t sent = send(fd, from, (size_t)(at - from), MSG_NOSIGNAL);
    if (sent <= 0) fail("the connection broke");
    from += sent;
  }
}

/* The head of a reply; RFC 5531 section 9. What is left of the record is data. */
static void take(const unsigned char *reply, size_t length) {
  if (length < 28 || get(reply + 4) != 1 || get(reply + 8) != 0 || get(reply + 16) != 0 || get(reply + 20) != 0) fail("not a reply");
  if (get(reply + 24) != 0) fail("a READ failed");
  const unsigned char *at = reply + 32 + (get(reply + 28) ? 84 : 0);
  if (length < (size_t)(at - reply) + 4) fail("a short reply");
  bytes += get(at);
  pieces++;
  waiting--;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: blast PORT WINDOW < LIST\n");
    return 2;
  }
  window = strtoul(argv[2], NULL, 10);
  load();
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int yes = 1;
  fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("can't connect");
  unsigned char *in = malloc(BUFFER);
  if (!in) fail("no memory");
  double began = now(), used = cpu();
  size_t have = 0;
  ask();
  while (waiting) {
    ssize_t got = recv(fd, in + have, BUFFER - have, 0);
    if (got <= 0) fail("the connection broke");
    have += (size_t)got;
    size_t from = 0;
    while (have - from >= 4) {
      uint32_t mark = get(in + from);
      size_t length = mark & 0x7fffffff;
      if (!(mark & 0x80000000U) || length > BUFFER - 4) fail("a record in fragments");
      if (have - from < 4 + length) break;
      take(in + from + 4, length);
      from += 4 + length;
    }
    memmove(in, in + from, have - from);
    have -= from;
    if (from) ask();
  }
  printf("{\"files\": %zu, \"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", count, (unsigned long long)bytes,
         now() - began, cpu() - used);
  return 0;
}
