/* Memory that only starting needed goes back to the system. */
#ifndef BASE_TRIM_H
#define BASE_TRIM_H

/*
 * Once, when everything is set up. Whatever is needed again comes back by itself, at the price of a
 * page fault.
 */
void trim_after_start(void);

#endif
