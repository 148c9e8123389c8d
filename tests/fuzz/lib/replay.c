/* replay: run a fuzz target over files and folders without libFuzzer. Each input lies in a block of exactly its
 * size, so that a sanitizer sees a read past the end. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    struct stat info;
    if (fstat(fileno(file), &info) != 0) {
        (void) fclose(file);
        return -1;
    }
    size_t size = (size_t) info.st_size;
    uint8_t *data = malloc(size);
    if (size != 0 && (data == NULL || fread(data, 1, size, file) != size)) {
        (void) fprintf(stderr, "%s: cannot be read\n", path);
        free(data);
        (void) fclose(file);
        return -1;
    }
    (void) fclose(file);
    (void) LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static int replay_path(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        perror(path);
        return -1;
    }
    if (!S_ISDIR(info.st_mode)) {
        return replay_file(path);
    }
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort);
    int done = 0;
    for (int i = 0; i < count; i++) {
        char child[4096];
        (void) snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && done >= 0) {
            int result = replay_path(child);
            done = result < 0 ? -1 : done + result;
        }
        free(names[i]);
    }
    free(names);
    return done;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int result = replay_path(argv[i]);
        if (result < 0) {
            return 1;
        }
        total += result;
    }
    (void) printf("%s: %d inputs replayed\n", argv[0], total);
    return total > 0 ? 0 : 1; /* a replay of nothing proves nothing */
}
