/* A kernel in C: the Elman network's recurrence and its gradient, with tanh. It stands for yours.
 *
 *     cc -O2 kernel.c -lm -o kernel
 *     elman verify --command ./kernel
 */
#include "judge.h"

#include <math.h>

static void kernel(const char *cell, int backward) {
    (void)cell; /* There is one alone. */
    judge_array xs = judge_get("xs"), wx = judge_get("wx"), wh = judge_get("wh"), bh = judge_get("bh");
    judge_array h0 = judge_get("h0"), lengths = judge_get("lengths");
    size_t steps = xs.rows, input = xs.cols, hidden = wh.rows;
    real *h = judge_put("h", steps, hidden);

    /* h[t] = tanh(x[t] wx + h[t-1] wh + bh), h[-1] = h0 */
    for (size_t s = 0, t = 0; s < lengths.cols; s++) {
        for (int64_t step = 0; step < lengths.whole[s]; step++, t++) {
            const real *before = step ? h + (t - 1) * hidden : h0.at;
            for (size_t j = 0; j < hidden; j++) {
                real a = bh.at[j];
                for (size_t i = 0; i < input; i++) a += xs.at[t * input + i] * wx.at[i * hidden + j];
                for (size_t i = 0; i < hidden; i++) a += before[i] * wh.at[i * hidden + j];
                h[t * hidden + j] = tanhf(a);
            }
        }
    }
    if (!backward) return;

    judge_array dh = judge_get("dh");
    real *dxs = judge_put("xs", steps, input), *dwx = judge_put("wx", input, hidden);
    real *dwh = judge_put("wh", hidden, hidden), *dbh = judge_put_vector("bh", hidden);
    real *dh0 = judge_put_vector("h0", hidden);
    real *da = calloc(hidden, sizeof(real)), *after = calloc(hidden, sizeof(real));
    for (size_t s = lengths.cols, t = steps; s-- > 0;) {
        memset(after, 0, hidden * sizeof(real)); /* what the next step gives back to the state */
        for (int64_t step = lengths.whole[s]; step-- > 0;) {
            t--;
            const real *before = step ? h + (t - 1) * hidden : h0.at;
            for (size_t j = 0; j < hidden; j++) {
                real state = h[t * hidden + j];
                da[j] = (dh.at[t * hidden + j] + after[j]) * (1 - state * state);
                dbh[j] += da[j];
            }
            for (size_t i = 0; i < input; i++)
                for (size_t j = 0; j < hidden; j++) {
                    dxs[t * input + i] += da[j] * wx.at[i * hidden + j];
                    dwx[i * hidden + j] += xs.at[t * input + i] * da[j];
                }
            for (size_t i = 0; i < hidden; i++) {
                after[i] = 0;
                for (size_t j = 0; j < hidden; j++) {
                    after[i] += da[j] * wh.at[i * hidden + j];
                    dwh[i * hidden + j] += before[i] * da[j];
                }
            }
        }
        for (size_t i = 0; i < hidden; i++) dh0[i] += after[i];
    }
    free(da), free(after);
}

int main(void) {
    return judge_main("{\"name\": \"kernel.c\", \"judge\": {\"cells\": [\"elman-tanh\"], \"numbers\": [\"f32\"], \"gradients\": true}}",
                      kernel);
}
