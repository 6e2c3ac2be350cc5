SET avg_doubl = TRUE;
SET avg_double = 'perhaps';
SET tsdiff_order = first_minus_second;
SET avg_double TRUE;
SET;
SET SCHEMA 's';
SET avg_double = TRUE, tsdiff_order = 'second_minus_first';
