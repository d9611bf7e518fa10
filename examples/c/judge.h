/* The protocol of `elman verify --command` for a kernel in C (or C++): lines of JSON on standard input and output, arrays in
 * safetensors files. A kernel reads its arrays with judge_get, writes its results with judge_put, and judge_main does the
 * rest. Define `real` as double before including this for a kernel in double precision. */
#ifndef ELMAN_JUDGE_H
#define ELMAN_JUDGE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef real
#define real float
#endif
#define JUDGE_TYPE (sizeof(real) == 4 ? "F32" : "F64")

/* A matrix, row by row; a vector has one row. Of `lengths`, `at` is NULL and `whole` holds the numbers. */
typedef struct {
    size_t rows, cols;
    real *at;
    int64_t *whole;
} judge_array;

static char *judge_header, *judge_data;  /* Of the file that was given. */
static size_t judge_count;               /* Of the results. */
static struct { const char *name; int vector; judge_array array; } judge_results[16];

static void judge_fail(const char *what) {
    fprintf(stderr, "judge.h: %s\n", what);
    exit(1);
}

/* The text that follows "key": in JSON, or NULL. */
static char *judge_find(char *json, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    char *found = strstr(json, quoted);
    return found ? found + strlen(quoted) : NULL;
}

/* The string under a key of a request, for the caller to free. */
static char *judge_string(char *json, const char *key) {
    char *from = judge_find(json, key);
    if (!from || *from != '"') judge_fail("a string is missing in the request");
    char *text = malloc(strlen(from)), *to = text;
    for (from++; *from && *from != '"'; from++) {
        if (*from == '\\') from++;
        *to++ = *from;
    }
    *to = 0;
    return text;
}

/* An array that was given: xs, lengths, wx, wh, bh, h0, dh and what else the cell has; `at` and `whole` are NULL if it was
 * not. */
static judge_array judge_get(const char *name) {
    judge_array array = {1, 1, NULL, NULL};
    char *entry = judge_find(judge_header, name);
    if (!entry) return array;
    char *shape = judge_find(entry, "shape"), *offsets = judge_find(entry, "data_offsets");
    if (!shape || !offsets) judge_fail("not a safetensors file");
    array.cols = strtoul(shape + 1, &shape, 10);
    if (*shape == ',') {
        array.rows = array.cols;
        array.cols = strtoul(shape + 1, NULL, 10);
    }
    char *data = judge_data + strtoul(offsets + 1, NULL, 10);
    if (strcmp(name, "lengths") == 0) array.whole = (int64_t *)data;
    else array.at = (real *)data;
    return array;
}

/* Memory for a result, filled with zeros: `h`, and the gradients under the names of what they are of. */
static real *judge_result(const char *name, size_t rows, size_t cols, int vector) {
    if (judge_count == sizeof judge_results / sizeof *judge_results) judge_fail("too many results");
    judge_array array = {rows, cols, calloc(rows * cols, sizeof(real)), NULL};
    if (!array.at) judge_fail("no memory");
    judge_results[judge_count].name = name;
    judge_results[judge_count].vector = vector;
    judge_results[judge_count++].array = array;
    return array.at;
}
static real *judge_put(const char *name, size_t rows, size_t cols) { return judge_result(name, rows, cols, 0); }
static real *judge_put_vector(const char *name, size_t length) { return judge_result(name, 1, length, 1); }

static void judge_read(const char *path) {
    FILE *file = fopen(path, "rb");
    uint64_t header;
    if (!file || fread(&header, 8, 1, file) != 1) judge_fail("the given file cannot be read");
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file) - 8 - header;
    fseek(file, 8, SEEK_SET);
    judge_header = calloc(header + 1, 1);
    judge_data = malloc(size);
    if (fread(judge_header, 1, header, file) != header || fread(judge_data, 1, size, file) != size)
        judge_fail("the given file is too short");
    fclose(file);
}

static void judge_write(const char *path) {
    char header[4096] = "{";
    size_t offset = 0;
    for (size_t i = 0; i < judge_count; i++) {
        judge_array array = judge_results[i].array;
        size_t end = offset + array.rows * array.cols * sizeof(real), used = strlen(header);
        char rows[32] = "";
        if (!judge_results[i].vector) snprintf(rows, sizeof rows, "%zu,", array.rows);
        snprintf(header + used, sizeof header - used, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s%zu],\"data_offsets\":[%zu,%zu]}",
                 i ? "," : "", judge_results[i].name, JUDGE_TYPE, rows, array.cols, offset, end);
        offset = end;
    }
    strcat(header, "}");
    uint64_t size = strlen(header);
    FILE *file = fopen(path, "wb");
    if (!file) judge_fail("the answer cannot be written");
    fwrite(&size, 8, 1, file);
    fwrite(header, 1, size, file);
    for (size_t i = 0; i < judge_count; i++) {
        judge_array array = judge_results[i].array;
        fwrite(array.at, sizeof(real), array.rows * array.cols, file);
        free(array.at);
    }
    if (fclose(file)) judge_fail("the answer cannot be written");
    judge_count = 0;
}

/* Answers requests until there are no more. `hello` is what the kernel says of itself, in JSON. */
static int judge_main(const char *hello, void (*kernel)(const char *cell, int backward)) {
    static char line[65536];
    while (fgets(line, sizeof line, stdin)) {
        char *work = judge_string(line, "work");
        if (strcmp(work, "hello") == 0) {
            puts(hello);
        } else {
            char *cell = judge_string(line, "cell"), *file = judge_string(line, "file");
            char *answer = judge_string(line, "answer"), *backward = judge_find(line, "backward");
            judge_read(file);
            kernel(cell, backward && *backward == 't');
            judge_write(answer);
            puts("{}");
            free(cell), free(file), free(answer), free(judge_header), free(judge_data);
        }
        fflush(stdout);
        free(work);
    }
    return 0;
}

#endif
