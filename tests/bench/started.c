/* started FIFO MARK: tells the FIFO at what instant of CLOCK_MONOTONIC this process began, as "MARK NANOSECONDS". */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments) {
  struct timespec now;
  char line[256];
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (count != 3) return 2;
  int length = snprintf(line, sizeof line, "%s %lld\n", arguments[2], now.tv_sec * 1000000000LL + now.tv_nsec);
  int fifo = open(arguments[1], O_WRONLY);
  return fifo < 0 || write(fifo, line, length) != length;
}
