/* A sample that every lint rule must refuse. It is never built. */
#include "logd/bad.h"
#include <string.h>
int bad(char *out, const char *in);
int bad(char *out, const char *in)
{
  int *p = 0;
  strcpy(out, in);
  if (out[0])
      return *p;
  return 0; 
}
